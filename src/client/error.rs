//! What went wrong, and where: which API, which broker, which partition.
//!
//! One [`Error`] for all of the client. Every layer adds what it knows on the way out ([`Error::of`], [`Error::from`] a
//! broker, [`Error::at`] a partition), so that one line of a log says enough to act on. Errors are cheap to clone: one
//! lost connection is told to everybody who waited for it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rskafka::messenger::RequestError;

use super::sasl::Refusal;
use crate::net::{Address, Attempt};
use crate::protocol::error::{Class, ErrorCode};
use crate::protocol::types::{BrokerId, Offset, TopicPartition};
use crate::tls::TlsFault;

/// A cause that is kept, and shared by all who are told.
pub type Cause = Arc<dyn StdError + Send + Sync>;

/// A failure of the client, with the place where it happened.
#[derive(Debug, Clone)]
pub struct Error {
    pub kind: ErrorKind,
    /// The name of the API, such as `Metadata`.
    pub api: Option<&'static str>,
    pub broker: Option<BrokerAt>,
    pub topic_partition: Option<TopicPartition>,
}

/// A broker, by what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAt {
    /// `None` for a bootstrap server, whose number is not known yet.
    pub id: Option<BrokerId>,
    pub address: Option<Address>,
}

/// What went wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection could be made; every address that was tried, and what became of it.
    Connect(Arc<[Attempt]>),
    /// The connection was lost before the answer came. The broker may have done what was asked.
    Disconnected(Arc<str>),
    /// The connection is not, or no longer, one over which both sides speak TLS.
    Tls(TlsFault),
    /// The broker and we have not come to terms on who we are.
    Authentication(Arc<Refusal>),
    /// What would prove who we are cannot be had at present.
    NoCredentials(Arc<str>),
    /// No answer within this time, waiting for a connection included. The broker may yet do what was asked.
    Timeout(Duration),
    /// The broker's own verdict, and its words if it had any.
    Broker(ErrorCode, Option<Arc<str>>),
    /// A message could not be written or read, or says what cannot be.
    Protocol(Cause),
    /// The broker speaks no version of the API that we speak.
    Unsupported,
    /// The broker is not, or no longer, part of what is known of the cluster.
    UnknownBroker,
    /// The partition has no leader at present.
    NoLeader,
    /// The topic or partition is not part of what is known of the cluster.
    UnknownPartition,
    /// Bytes of a partition that are no record batch, or one whose checksum does not hold.
    Corrupt { offset: Offset, cause: Cause },
    /// A batch of a partition that is sound, as far as it was looked at, but unpacks to more than this.
    Oversized { offset: Offset, limit: usize },
    /// A record that is larger than the limit.
    TooLarge { bytes: usize, limit: usize },
    /// The broker's verdict on this very record, for which it has refused the record's whole batch (KIP-467), and its words.
    Rejected(ErrorCode, Arc<str>),
    /// The broker has refused the record's whole batch for this other record of it (KIP-467), and why. Sent again, without that
    /// one, it may be written.
    Neighbour { index: u32, why: Arc<str> },
    /// No room in the buffer within the time allowed.
    BufferFull,
    /// The transaction could not be committed, for this reason, and is aborted: nothing of it will be read by those who
    /// read committed records. Another one may begin.
    Aborted(Arc<Error>),
    /// The client was closed.
    Closed,
    /// There is nowhere to go on reading the partition, and no rule that says where then (`auto_offset_reset` is none). To
    /// [seek](super::Consumer::seek) gives it a place.
    NoPlace(NoPlace),
    /// Something that was asked for cannot be.
    Config(Arc<str>),
}

/// Why there is nowhere to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The group has committed no offset.
    Uncommitted,
    /// This offset is not there any more, or was never.
    Gone(Offset),
    /// The log was cut at this offset, below what was read (KIP-320): what stands there now is not what was read.
    Cut(Offset),
}

impl Error {
    pub fn new(kind: ErrorKind) -> Self {
        Self { kind, api: None, broker: None, topic_partition: None }
    }

    pub fn broker(code: ErrorCode) -> Self {
        Self::new(ErrorKind::Broker(code, None))
    }

    /// A broker's verdict in its own words, where it gave any that are not empty.
    pub fn broker_says(code: ErrorCode, message: Option<&str>) -> Self {
        let message = message.filter(|text| !text.is_empty()).map(Arc::from);
        Self::new(ErrorKind::Broker(code, message))
    }

    pub fn config(what: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::Config(what.into()))
    }

    pub fn disconnected(why: impl Into<Arc<str>>) -> Self {
        Self::new(ErrorKind::Disconnected(why.into()))
    }

    pub fn protocol(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Protocol(Arc::new(cause)))
    }

    pub fn closed() -> Self {
        Self::new(ErrorKind::Closed)
    }

    /// Says which API it was; the first to say it knew best.
    pub fn of(mut self, api: &'static str) -> Self {
        self.api.get_or_insert(api);
        self
    }

    /// Says which broker it was; the first to say it knew best.
    pub fn by(mut self, id: Option<BrokerId>, address: Option<Address>) -> Self {
        self.broker.get_or_insert(BrokerAt { id, address });
        self
    }

    /// Says which partition it was about.
    pub fn at(mut self, topic_partition: TopicPartition) -> Self {
        self.topic_partition = Some(topic_partition);
        self
    }

    /// Of something that was not over in time, says how much time all of it had.
    pub(super) fn within(mut self, deadline: Duration) -> Self {
        if let ErrorKind::Timeout(had) = &mut self.kind {
            *had = deadline;
        }
        self
    }

    /// Of a transaction that can only be aborted, says so.
    pub(super) fn aborts(self) -> Self {
        if self.is_aborted() { self } else { Self::new(ErrorKind::Aborted(Arc::new(self))) }
    }

    /// Whether the transaction came to nothing, but its producer may begin another, which does the same work again.
    pub fn is_aborted(&self) -> bool {
        matches!(self.kind, ErrorKind::Aborted(_))
    }

    /// Whether another producer has begun with the same transactional id, or the transaction took longer than it may; or, before
    /// Kafka 4, a request of its own for its next epoch was carried out late. This producer can do nothing more.
    pub fn is_fenced(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::PRODUCER_FENCED | ErrorCode::INVALID_PRODUCER_EPOCH))
    }

    /// The broker's verdict, if it was one.
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.kind {
            ErrorKind::Broker(code, _) | ErrorKind::Rejected(code, _) => Some(*code),
            _ => None,
        }
    }

    /// What to do about it: a broker's verdict by Kafka's table, a lost connection by learning the cluster anew.
    pub fn class(&self) -> Class {
        match &self.kind {
            ErrorKind::Broker(code, _) | ErrorKind::Rejected(code, _) => code.class(),
            _ if self.is_authentication() => Class::Fatal,
            ErrorKind::Timeout(_)
            | ErrorKind::BufferFull
            | ErrorKind::Neighbour { .. }
            | ErrorKind::NoCredentials(_) => Class::Retry,
            ErrorKind::Connect(_)
            | ErrorKind::Disconnected(_)
            | ErrorKind::Tls(_)
            | ErrorKind::UnknownBroker
            | ErrorKind::UnknownPartition
            | ErrorKind::NoLeader => Class::RefreshMetadata,
            _ => Class::Fatal,
        }
    }

    /// Whether the same thing, tried later, can succeed.
    pub fn is_retriable(&self) -> bool {
        matches!(self.class(), Class::Retry | Class::RefreshMetadata | Class::FindCoordinator)
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, ErrorKind::Timeout(_)) || self.code() == Some(ErrorCode::REQUEST_TIMED_OUT)
    }

    /// A record or batch that is larger than the client or the broker takes; no retry makes it smaller.
    pub fn is_too_large(&self) -> bool {
        matches!(self.kind, ErrorKind::TooLarge { .. })
            || matches!(self.code(), Some(ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE))
    }

    /// Whether one side does not believe who the other says it is, by SASL or by certificate. No retry helps; other
    /// credentials, certificates or settings do.
    pub fn is_authentication(&self) -> bool {
        match &self.kind {
            ErrorKind::Authentication(_) => true,
            ErrorKind::Tls(fault) => fault.is_lasting(),
            ErrorKind::Connect(tried) => !tried.is_empty() && tried.iter().all(Attempt::is_lasting),
            _ => matches!(
                self.code(),
                Some(
                    ErrorCode::SASL_AUTHENTICATION_FAILED
                        | ErrorCode::UNSUPPORTED_SASL_MECHANISM
                        | ErrorCode::ILLEGAL_SASL_STATE
                )
            ),
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.kind, ErrorKind::Closed)
    }

    /// Whether the broker was not reached, or not heard from again: nothing it said, but something that happened to the
    /// connection.
    pub fn is_transport(&self) -> bool {
        use ErrorKind::{Connect, Disconnected, Timeout, Tls};
        matches!(self.kind, Connect(_) | Disconnected(_) | Tls(_) | Timeout(_)) && !self.is_authentication()
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self::broker(code)
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::NoVersionMatch { .. } => Self::new(ErrorKind::Unsupported),
            RequestError::WriteMessageError(_)
            | RequestError::IO(_)
            | RequestError::ReadFramedMessageError(_)
            | RequestError::Poisoned(_) => Self::disconnected(error.to_string()),
            _ => Self::protocol(error),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.kind {
            ErrorKind::Protocol(cause) | ErrorKind::Corrupt { cause, .. } => Some(cause.as_ref()),
            ErrorKind::Aborted(cause) => Some(cause.as_ref()),
            ErrorKind::Broker(code, _) | ErrorKind::Rejected(code, _) => Some(code),
            _ => None,
        }
    }
}

/// `OffsetFetch to broker 2 (kafka-2:9092), orders-3: no answer within 30s`
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        if let Some(api) = self.api {
            write!(f, "{api}")?;
            before = " ";
        }
        if let Some(broker) = &self.broker {
            let to = if self.api.is_some() { "to " } else { "" };
            write!(f, "{before}{to}{broker}")?;
            before = " ";
        }
        if let Some(topic_partition) = &self.topic_partition {
            let comma = if before.is_empty() { "" } else { ", " };
            write!(f, "{comma}{topic_partition}")?;
            before = " ";
        }
        let colon = if before.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.kind)
    }
}

impl fmt::Display for BrokerAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id, &self.address) {
            (Some(id), Some(address)) => write!(f, "broker {id} ({address})"),
            (Some(id), None) => write!(f, "broker {id}"),
            (None, Some(address)) => write!(f, "{address}"),
            (None, None) => f.write_str("any broker"),
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(attempts) => {
                f.write_str("cannot connect")?;
                for (n, attempt) in attempts.iter().enumerate() {
                    write!(f, "{} {attempt}", if n == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
            Self::Disconnected(why) => write!(f, "connection lost: {why}"),
            Self::Tls(fault) => write!(f, "TLS: {fault}"),
            Self::Authentication(refusal) => write!(f, "{refusal}"),
            Self::NoCredentials(why) => write!(f, "no credentials: {why}"),
            Self::Timeout(after) => write!(f, "no answer within {:?}", rounded(*after)),
            Self::Broker(code, words) => match words.as_deref().or(code.meaning()) {
                Some(words) => write!(f, "{code}: {words}"),
                None => write!(f, "{code}"),
            },
            Self::Protocol(cause) => write!(f, "{cause}"),
            Self::Unsupported => f.write_str("the broker speaks no version of this API that we speak"),
            Self::UnknownBroker => f.write_str("not a broker that the cluster lists"),
            Self::NoLeader => f.write_str("no leader at present"),
            Self::UnknownPartition => f.write_str("no such topic or partition is known"),
            Self::Corrupt { offset, cause } => write!(f, "corrupt at offset {offset}: {cause}"),
            Self::Oversized { offset, limit } => write!(
                f,
                "the batch at offset {offset} unpacks to more than {limit} bytes: raise memory_bytes, or pass it over"
            ),
            Self::TooLarge { bytes, limit } => write!(f, "{bytes} bytes are more than the limit of {limit}"),
            Self::Rejected(code, why) => write!(f, "{code}: this record is rejected: {why}"),
            Self::Neighbour { index, why } => write!(f, "not written because of record {index} of its batch: {why}"),
            Self::BufferFull => f.write_str("the buffer is full"),
            Self::Aborted(cause) => write!(f, "the transaction is aborted: {cause}"),
            Self::Closed => f.write_str("the client is closed"),
            Self::NoPlace(why) => write!(f, "{why}, and auto_offset_reset is none; the partition is not read"),
            Self::Config(what) => f.write_str(what),
        }
    }
}

/// As it was meant: what was left of some seconds is a little less than they were.
fn rounded(time: Duration) -> Duration {
    let step = match time.as_millis() {
        0 => return time,
        1..1_000 => Duration::from_millis(1),
        _ => Duration::from_millis(10),
    };
    let steps = time.div_duration_f64(step).round();
    Duration::try_from_secs_f64(steps * step.as_secs_f64()).unwrap_or(time)
}

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncommitted => f.write_str("the group has committed no offset"),
            Self::Gone(offset) => write!(f, "offset {offset} is not there any more"),
            Self::Cut(end) => write!(f, "the log was cut at offset {end}, below what was read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::sasl::{Mechanism, RefusalReason};

    #[test]
    fn one_line_says_what_where_and_why() {
        let check = |error: Error, line: &str| assert_eq!(error.to_string(), line);
        let address = Address::new("kafka-2", 9092);
        let timeout = || Error::new(ErrorKind::Timeout(Duration::from_secs(30)));
        check(timeout(), "no answer within 30s");
        for (time, line) in [
            (Duration::from_nanos(4_999_999_779), "no answer within 5s"),
            (Duration::from_millis(1_530), "no answer within 1.53s"),
            (Duration::from_micros(250_400), "no answer within 250ms"),
            (Duration::from_nanos(999_912_561), "no answer within 1s"),
        ] {
            check(Error::new(ErrorKind::Timeout(time)), line);
        }
        check(timeout().of("Fetch"), "Fetch: no answer within 30s");
        check(
            timeout().of("Fetch").by(Some(2), Some(address.clone())).at(TopicPartition::new("orders", 3)),
            "Fetch to broker 2 (kafka-2:9092), orders-3: no answer within 30s",
        );
        check(
            Error::broker_says(ErrorCode::POLICY_VIOLATION, Some("too many")).of("CreateTopics"),
            "CreateTopics: POLICY_VIOLATION: too many",
        );
        check(Error::new(ErrorKind::NoLeader).at(TopicPartition::new("t", 0)), "t-0: no leader at present");
        let tried = [Attempt::new(Address::new("a", 1), "refused"), Attempt::new(Address::new("::1", 2), "no route")];
        check(Error::new(ErrorKind::Connect(tried.into())), "cannot connect: a:1: refused; [::1]:2: no route");
    }

    #[test]
    fn kinds_know_what_they_are() {
        let check = |error: Error, retriable: bool, timeout: bool, large: bool, closed: bool| {
            let said = (error.is_retriable(), error.is_timeout(), error.is_too_large(), error.is_closed());
            assert_eq!(said, (retriable, timeout, large, closed), "{error}");
        };
        check(Error::closed(), false, false, false, true);
        check(Error::new(ErrorKind::Timeout(Duration::ZERO)), true, true, false, false);
        check(Error::broker(ErrorCode::REQUEST_TIMED_OUT), true, true, false, false);
        check(Error::broker(ErrorCode::MESSAGE_TOO_LARGE), false, false, true, false);
        check(Error::new(ErrorKind::TooLarge { bytes: 2, limit: 1 }), false, false, true, false);
        check(Error::broker(ErrorCode::NOT_COORDINATOR), true, false, false, false);
        check(Error::disconnected("reset"), true, false, false, false);
        check(Error::config("no"), false, false, false, false);
        assert!(Error::broker(ErrorCode::SASL_AUTHENTICATION_FAILED).is_authentication());
        assert!(!Error::broker(ErrorCode::TOPIC_AUTHORIZATION_FAILED).is_authentication());
    }

    #[test]
    fn a_connection_that_cannot_be_trusted_is_not_tried_again() {
        let attempt = |tls: Option<TlsFault>| Attempt { tls, ..Attempt::new(Address::new("a", 1), "no") };
        let check = |tried: &[Option<TlsFault>], fatal: bool| {
            let error = Error::new(ErrorKind::Connect(tried.iter().cloned().map(attempt).collect()));
            let said = (error.is_authentication(), !error.is_retriable(), !error.is_transport());
            assert_eq!(said, (fatal, fatal, fatal), "{tried:?}");
        };
        check(&[], false);
        check(&[Some(TlsFault::Expired)], true);
        check(&[Some(TlsFault::Expired), Some(TlsFault::UnknownIssuer)], true);
        check(&[Some(TlsFault::Expired), None], false);
        check(&[Some(TlsFault::HungUp)], false);
        let reason = RefusalReason::NoSasl;
        let refusal = Refusal { mechanism: Mechanism::Plain, user: None, reason };
        let error = Error::new(ErrorKind::Authentication(Arc::new(refusal)));
        assert_eq!((error.class(), error.is_transport()), (Class::Fatal, false));
    }
}
