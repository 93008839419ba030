//! How the program ends when it cannot go on: one clear line, and a status that scripts can tell apart.

use std::fmt;
use std::process::ExitCode;

/// The exit statuses of `sysexits.h`, by what an operator would do about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 64: the command line is wrong.
    Usage,
    /// 65: the input is wrong.
    Data,
    /// 66: an input file cannot be read.
    NoInput,
    /// 69: something that is needed cannot be reached: a broker, a store.
    Unavailable,
    /// 70: a fault of the program.
    Software,
    /// 71: the system refused something: a port is taken.
    Os,
    /// 73: a file or directory cannot be written.
    CannotCreate,
    /// 77: a broker does not believe who we are, or we do not believe it: credentials or certificates are wrong.
    NotPermitted,
    /// 78: the configuration is wrong.
    Config,
}

impl Status {
    pub fn code(self) -> u8 {
        match self {
            Self::Usage => 64,
            Self::Data => 65,
            Self::NoInput => 66,
            Self::Unavailable => 69,
            Self::Software => 70,
            Self::Os => 71,
            Self::CannotCreate => 73,
            Self::NotPermitted => 77,
            Self::Config => 78,
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

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.status.code())
    }
}
