//! What a broker's word on one partition's batch means, as tables. Values in, values out.

use std::time::Duration;

use crate::protocol::error::{Class, ErrorCode};

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Written,
    /// Send it again, after asking who leads the partition if `refresh`.
    Again {
        refresh: bool,
    },
    /// Its sequence does not follow what the broker remembers of us.
    Gap,
    /// Too large for the topic (`max.message.bytes`).
    TooLarge,
    /// It will not be taken; others may.
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
        ErrorCode::PRODUCER_FENCED
        | ErrorCode::INVALID_PRODUCER_ID_MAPPING
        | ErrorCode::CLUSTER_AUTHORIZATION_FAILED
        | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => Verdict::Fatal,
        _ => match code.class() {
            Class::Ok => Verdict::Written,
            Class::Retry => Verdict::Again { refresh: false },
            Class::RefreshMetadata => Verdict::Again { refresh: true },
            Class::FindCoordinator | Class::Rejoin | Class::Fatal => Verdict::Refused,
        },
    }
}

/// How long to wait after the `tries`-th attempt: doubling from `first` up to `most`, a fifth more or less by chance
/// (KIP-580), where `chance` is in 0..1.
pub(super) fn backoff(tries: u32, first: Duration, most: Duration, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << tries.saturating_sub(1).min(16));
    doubled.min(most).mul_f64(0.8 + 0.4 * chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let cases = [
            (0, Verdict::Written),
            (46, Verdict::Written),
            (45, Verdict::Gap),
            (59, Verdict::Gap),
            (10, Verdict::TooLarge),
            (90, Verdict::Fatal),
            (31, Verdict::Fatal),
            (47, Verdict::Refused),
            (29, Verdict::Refused),
            (87, Verdict::Refused),
            (2, Verdict::Again { refresh: false }),
            (7, Verdict::Again { refresh: false }),
            (19, Verdict::Again { refresh: false }),
            (20, Verdict::Again { refresh: false }),
            (3, Verdict::Again { refresh: true }),
            (5, Verdict::Again { refresh: true }),
            (6, Verdict::Again { refresh: true }),
            (56, Verdict::Again { refresh: true }),
            (74, Verdict::Again { refresh: true }),
            (75, Verdict::Again { refresh: true }),
            (100, Verdict::Again { refresh: true }),
            (30_000, Verdict::Refused),
        ];
        for (code, want) in cases {
            assert_eq!(judge(ErrorCode::from(code)), want, "{code}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_the_most() {
        let ms = Duration::from_millis;
        for (tries, chance, want) in [(1, 0.5, 100), (2, 0.5, 200), (3, 0.0, 320), (9, 0.5, 1000), (99, 1.0, 1200)] {
            let waited = backoff(tries, ms(100), ms(1000), chance);
            assert_eq!(waited.as_millis(), want, "{tries}");
        }
    }
}
