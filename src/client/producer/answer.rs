//! What a broker's word on one partition's batch means, as tables. Values in, values out.

use crate::protocol::error::{Class, ErrorCode};

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Written,
    /// Send it again, after asking who leads the partition if `refresh`. It was written already if `is_appended`.
    Again {
        refresh: bool,
        is_appended: bool,
    },
    /// Its sequence does not follow what the broker remembers of us.
    Gap,
    /// Too large for the topic (`max.message.bytes`).
    TooLarge,
    /// It will not be taken; others may. It was looked at and rejected, so that nothing of it is written.
    Rejected,
    /// The same, but whether it is written all the same is not known.
    Refused,
    /// Nothing of this producer will be taken any more.
    Fatal,
}

/// Java's `Sender.completeBatch` and `TransactionManager.canRetry`, for a producer without transactions.
pub(super) fn judge(code: ErrorCode) -> Verdict {
    match code {
        // The broker has it, and says so without an offset when it is older than the five batches that it remembers.
        ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Verdict::Written,
        // Both say that what we continue is not there: skipped, or forgotten with the log's head (KIP-360).
        ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID => Verdict::Gap,
        ErrorCode::MESSAGE_TOO_LARGE => Verdict::TooLarge,
        // All of these a broker finds before it appends.
        ErrorCode::TOPIC_AUTHORIZATION_FAILED
        | ErrorCode::INVALID_TOPIC_EXCEPTION
        | ErrorCode::RECORD_LIST_TOO_LARGE
        | ErrorCode::INVALID_REQUIRED_ACKS
        | ErrorCode::INVALID_TIMESTAMP
        | ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT
        | ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
        | ErrorCode::INVALID_RECORD => Verdict::Rejected,
        ErrorCode::PRODUCER_FENCED
        | ErrorCode::INVALID_PRODUCER_ID_MAPPING
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
        | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Verdict::Fatal,
        _ => match code.class() {
            Class::Ok => Verdict::Written,
            class @ (Class::Retry | Class::RefreshMetadata) => Verdict::Again {
                refresh: class == Class::RefreshMetadata,
                // By this leader alone, or by too few of its followers in time.
                is_appended: matches!(code, ErrorCode::REQUEST_TIMED_OUT | ErrorCode::NOT_ENOUGH_REPLICAS_AFTER_APPEND),
            },
            Class::FindCoordinator | Class::Rejoin | Class::Fatal => Verdict::Refused,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let again = |refresh| Verdict::Again { refresh, is_appended: false };
        let cases = [
            (0, Verdict::Written),
            (46, Verdict::Written),
            (45, Verdict::Gap),
            (59, Verdict::Gap),
            (10, Verdict::TooLarge),
            (90, Verdict::Fatal),
            (31, Verdict::Fatal),
            (47, Verdict::Refused),
            (29, Verdict::Rejected),
            (87, Verdict::Rejected),
            (-1, Verdict::Refused),
            (44, Verdict::Refused),
            (2, again(false)),
            (7, Verdict::Again { refresh: false, is_appended: true }),
            (19, again(false)),
            (20, Verdict::Again { refresh: false, is_appended: true }),
            (3, again(true)),
            (5, again(true)),
            (6, again(true)),
            (56, again(true)),
            (74, again(true)),
            (75, again(true)),
            (100, again(true)),
            (30_000, Verdict::Refused),
        ];
        for (code, want) in cases {
            assert_eq!(judge(ErrorCode::from(code)), want, "{code}");
        }
    }
}
