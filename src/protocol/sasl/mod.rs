//! The words of SASL: what two sides say to each other to prove who they are, without the connection that carries it.
//!
//! Each mechanism has a file with both sides of it, pure: bytes and secrets in, bytes or a reason out. Randomness is an
//! argument, and so is the time. Kafka frames these bytes in SaslAuthenticate (KIP-152).
//!
//! Absent on purpose: GSSAPI, which needs a Kerberos library in C; channel binding, which Kafka does not offer; and
//! SASLprep (RFC 4013), which Kafka does not apply either: a name or password is its UTF-8 bytes on both sides.

pub mod oauthbearer;
pub mod plain;
pub mod scram;

use std::fmt;
use std::sync::Arc;

/// A way to prove who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// Name and password as they are (RFC 4616): only for connections that are encrypted.
    Plain,
    /// Proof of a password that does not cross the wire (RFC 5802, RFC 7677).
    ScramSha256,
    ScramSha512,
    /// A token that somebody else has signed (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    pub const ALL: [Self; 4] = [Self::Plain, Self::ScramSha256, Self::ScramSha512, Self::OAuthBearer];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is never shown: `Debug` does not say it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text. Whoever asks for it must not let it be printed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Why an exchange cannot go on. None of its words hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// Something that was said is not what the mechanism's law allows.
    #[error("{0}")]
    Malformed(&'static str),
    /// What we were given cannot be said in this mechanism.
    #[error("{0}")]
    Unsayable(&'static str),
    #[error("{iterations} iterations are asked for; from {} to {} are accepted", scram::ITERATIONS.start(), scram::ITERATIONS.end())]
    Iterations { iterations: u32 },
    /// The other side has said so in its last message.
    #[error("the other side says: {0}")]
    Refused(String),
    /// The other side has not shown that it knows the password.
    #[error("the other side does not know the password: its proof is wrong")]
    Impostor,
    /// A password or proof that is not this user's.
    #[error("the credentials are wrong")]
    WrongCredentials,
}

/// Equal, found out in a time that does not say where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_have_the_names_that_are_registered() {
        for mechanism in Mechanism::ALL {
            assert_eq!(Mechanism::by_name(mechanism.name()), Some(mechanism));
        }
        assert_eq!(Mechanism::by_name("plain"), None);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "Secret");
    }

    #[test]
    fn sameness() {
        let check = |one: &[u8], other: &[u8], want| assert_eq!(same(one, other), want);
        check(b"", b"", true);
        check(b"abc", b"abc", true);
        check(b"abc", b"abd", false);
        check(b"abc", b"ab", false);
    }
}
