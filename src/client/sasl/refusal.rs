//! Why a broker and we did not come to terms on who we are.

use std::fmt;
use std::sync::Arc;

use super::Mechanism;
use crate::protocol::error::ErrorCode;
use crate::protocol::sasl::SaslError;

/// A proof that failed. With the same settings it fails again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub mechanism: Mechanism,
    /// The user's name, or what the token says of its subject.
    pub user: Option<Arc<str>>,
    pub reason: RefusalReason,
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The broker's verdict, in its words if it had any.
    Rejected(ErrorCode, Option<Arc<str>>),
    /// The listener has other mechanisms only.
    NotOffered { offered: Vec<String> },
    /// The listener has no SASL at all.
    NoSasl,
    /// The broker is older than Kafka 1.0, which has errors for this.
    TooOld,
    /// The exchange did not go as the mechanism's law has it.
    Exchange(SaslError),
    /// There are no credentials, and will be none: whoever issues them refuses.
    NoCredentials(Arc<str>),
}

/// `SCRAM-SHA-256 authentication of alice: ...`
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} authentication", self.mechanism)?;
        if let Some(user) = &self.user {
            write!(f, " of {user}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(code, Some(words)) => write!(f, "{code}: {words}"),
            Self::Rejected(code, None) => match code.meaning() {
                Some(meaning) => write!(f, "{code}: {meaning}"),
                None => write!(f, "{code}"),
            },
            Self::NotOffered { offered } if offered.is_empty() => {
                f.write_str("the listener does not offer this mechanism")
            }
            Self::NotOffered { offered } => {
                write!(f, "the listener does not offer this mechanism, but {}", offered.join(", "))
            }
            Self::NoSasl => f.write_str("the listener has no SASL; is it the one for clients without credentials?"),
            Self::TooOld => f.write_str("the broker does not speak SaslAuthenticate; it is older than Kafka 1.0"),
            Self::Exchange(error) => write!(f, "{error}"),
            Self::NoCredentials(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_who_how_and_why() {
        let check = |user: Option<&str>, reason: RefusalReason, want: &str| {
            let refusal = Refusal { mechanism: Mechanism::Plain, user: user.map(Arc::from), reason };
            assert_eq!(refusal.to_string(), want);
        };
        let rejected =
            |words: Option<&str>| RefusalReason::Rejected(ErrorCode::SASL_AUTHENTICATION_FAILED, words.map(Arc::from));
        check(
            Some("alice"),
            rejected(Some("Authentication failed: Invalid username or password")),
            "PLAIN authentication of alice: SASL_AUTHENTICATION_FAILED: Authentication failed: Invalid username or password",
        );
        check(None, rejected(None), "PLAIN authentication: SASL_AUTHENTICATION_FAILED: the credentials are wrong");
        check(
            Some("alice"),
            RefusalReason::NotOffered { offered: vec!["SCRAM-SHA-256".to_owned(), "OAUTHBEARER".to_owned()] },
            "PLAIN authentication of alice: the listener does not offer this mechanism, but SCRAM-SHA-256, OAUTHBEARER",
        );
    }
}
