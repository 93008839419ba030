//! How the program ends when it cannot go on: one clear line, and a status that scripts can tell apart.

use std::fmt;
use std::process::ExitCode;

use crate::client::{Error, ErrorCode, ErrorKind};

/// The exit statuses of `sysexits.h`, and one of the shell's, by what an operator would do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 2: what was looked at is over a limit that was given.
    Exceeded,
    /// 64: the command line is wrong.
    Usage,
    /// 65: the input is wrong, or what was asked for cannot be: no such topic, no such group.
    Data,
    /// 66: an input file cannot be read.
    NoInput,
    /// 69: something that is needed cannot be reached: a broker, a store.
    Unavailable,
    /// 70: a fault of the program, such as records that it cannot account for.
    Software,
    /// 71: the system refused something: a port is taken.
    Os,
    /// 73: a file or directory cannot be written.
    CannotCreate,
    /// 77: a broker does not believe who we are, or we do not believe it, or we may not do this: credentials, certificates
    /// or permissions are wrong.
    NotPermitted,
    /// 78: the configuration is wrong.
    Config,
    /// 141: who read the output has gone; 128 + SIGPIPE, as a shell reports it. Nothing is said about it.
    BrokenPipe,
}

impl Status {
    pub fn code(self) -> u8 {
        match self {
            Self::Exceeded => 2,
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::Os => 71,
            Self::CannotCreate => 73,
            Self::NotPermitted => 77,
            Self::Config => 78,
            Self::BrokenPipe => 141,
        }
    }

    /// Of what a cluster says, or does not say.
    pub fn of(error: &Error) -> Self {
        let forbidden = [
            ErrorCode::TOPIC_AUTHORIZATION_FAILED,
            ErrorCode::GROUP_AUTHORIZATION_FAILED,
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED,
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        ];
        match &error.kind {
            _ if error.is_authentication() => Self::NotPermitted,
            ErrorKind::Broker(code, _) if forbidden.contains(code) => Self::NotPermitted,
            ErrorKind::Broker(..) if error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) => Self::Data,
            ErrorKind::UnknownPartition | ErrorKind::TooLarge { .. } | ErrorKind::Unsupported => Self::Data,
            ErrorKind::Corrupt { .. } | ErrorKind::Oversized { .. } | ErrorKind::NoPlace(_) => Self::Data,
            ErrorKind::Rejected(..) | ErrorKind::Neighbour { .. } => Self::Data,
            ErrorKind::Config(_) => Self::Config,
            ErrorKind::Protocol(_) | ErrorKind::Closed => Self::Software,
            ErrorKind::Broker(..) if !error.is_retriable() => Self::Data,
            _ => Self::Unavailable,
        }
    }
}

/// Why the program ends, and with which status.
#[derive(Debug)]
pub struct Failure {
    pub status: Status,
    pub message: String,
}

impl Failure {
    pub fn new(status: Status, message: impl fmt::Display) -> Self {
        Self { status, message: message.to_string() }
    }

    /// For `map_err`.
    pub fn of<E: fmt::Display>(status: Status) -> impl Fn(E) -> Self {
        move |error| Self::new(status, error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Status::of(&error), error)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::NoPlace;

    #[test]
    fn what_a_cluster_says_has_a_status() {
        let check = |error: Error, status: Status| assert_eq!(Status::of(&error), status, "{error}");
        check(Error::disconnected("reset"), Status::Unavailable);
        check(Error::broker(ErrorCode::NOT_ENOUGH_REPLICAS), Status::Unavailable);
        check(Error::broker(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), Status::Data);
        check(Error::broker(ErrorCode::TOPIC_ALREADY_EXISTS), Status::Data);
        check(Error::broker(ErrorCode::TOPIC_AUTHORIZATION_FAILED), Status::NotPermitted);
        check(Error::broker(ErrorCode::SASL_AUTHENTICATION_FAILED), Status::NotPermitted);
        check(Error::new(ErrorKind::NoPlace(NoPlace::Uncommitted)), Status::Data);
        check(Error::config("no"), Status::Config);
        check(Error::closed(), Status::Software);
    }
}
