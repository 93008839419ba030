//! What is wrong with a TLS connection, in words that say what to do.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why two sides could not, or cannot any more, speak TLS with each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    #[error("the certificate comes from no CA that is trusted here; is the CA file this cluster's?")]
    UnknownIssuer,
    #[error("the certificate is not for this name{}; reach the broker by its name, or set the server name", names(.presented))]
    WrongName { presented: Vec<String> },
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is not valid yet; are the clocks right?")]
    NotYetValid,
    #[error("the certificate cannot be accepted: {0}")]
    Unacceptable(String),
    #[error("the other side wants a certificate of ours, and there is none: set certificate and key")]
    CertificateWanted,
    #[error("the other side does not accept our certificate, or misses one ({0})")]
    CertificateRefused(String),
    #[error("the two sides have no TLS version, or no cipher, in common ({0})")]
    NothingInCommon(String),
    #[error("what is spoken here is not TLS; is this listener one for plain text?")]
    NotTls,
    #[error("what is spoken here is TLS, and this connection is plain text: TLS must be set up")]
    OnlyTls,
    #[error("the connection was closed in the middle of the TLS handshake; is this listener one for plain text?")]
    HungUp,
    #[error("{0}")]
    Other(String),
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() { String::new() } else { format!(", but for {}", presented.join(", ")) }
}

impl TlsFault {
    /// What a stream's error says of TLS; `None` if it is about something else.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Error>().map(Self::from)
    }

    /// The same, of an error that came before the handshake was over.
    pub fn of_handshake(error: &io::Error) -> Option<Self> {
        let hung_up = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        Self::of(error).or_else(|| hung_up.then_some(Self::HungUp))
    }

    /// What a peer says that wants TLS and was spoken to in plain text: an alert record (RFC 8446, section 5.1). Kafka's own
    /// answers cannot begin so: it would be the length of an answer of 352 MB.
    pub fn of_plain_answer(first: &[u8]) -> Option<Self> {
        first.starts_with(&[21, 3]).then_some(Self::OnlyTls)
    }

    /// Whether it stays like that until somebody changes a setting or a certificate.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Self::HungUp | Self::Other(_))
    }
}

impl From<&Error> for TlsFault {
    fn from(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(why) => Self::from(why),
            Error::AlertReceived(alert) => of_alert(*alert),
            Error::PeerIncompatible(why) => Self::NothingInCommon(format!("{why:?}")),
            // The first bytes are no TLS record.
            Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
                Self::NotTls
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<&CertificateError> for TlsFault {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName => Self::WrongName { presented: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::WrongName { presented: presented.iter().map(|name| plain(name)).collect() }
            }
            other => Self::Unacceptable(other.to_string()),
        }
    }
}

/// `DnsName("localhost")` as `localhost`.
fn plain(name: &str) -> String {
    name.split_once('(').map_or(name, |(_, inner)| inner).trim_end_matches(')').trim_matches('"').to_owned()
}

fn of_alert(alert: AlertDescription) -> TlsFault {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired => TlsFault::CertificateWanted,
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => TlsFault::CertificateRefused(format!("{alert:?}")),
        Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
            TlsFault::NothingInCommon(format!("{alert:?}"))
        }
        other => TlsFault::Other(format!("the other side has ended it: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_to_do() {
        let check = |error: Error, lasting: bool, want: &str| {
            let fault = TlsFault::of(&io::Error::new(io::ErrorKind::InvalidData, error)).expect("an error of TLS");
            assert_eq!((fault.is_lasting(), fault.to_string().contains(want)), (lasting, true), "{fault}");
        };
        let invalid = Error::InvalidCertificate;
        check(invalid(CertificateError::UnknownIssuer), true, "no CA that is trusted");
        check(invalid(CertificateError::Expired), true, "has expired");
        check(invalid(CertificateError::NotValidYet), true, "not valid yet");
        check(invalid(CertificateError::NotValidForName), true, "not for this name; reach");
        check(invalid(CertificateError::Revoked), true, "cannot be accepted");
        check(Error::AlertReceived(AlertDescription::CertificateRequired), true, "wants a certificate of ours");
        check(Error::AlertReceived(AlertDescription::UnknownCA), true, "or misses one (UnknownCA)");
        check(Error::AlertReceived(AlertDescription::ProtocolVersion), true, "in common");
        check(Error::AlertReceived(AlertDescription::InternalError), false, "InternalError");
        check(Error::InvalidMessage(InvalidMessage::InvalidContentType), true, "not TLS");
        check(Error::DecryptError, false, "decrypt");
    }

    #[test]
    fn names_are_shown_as_they_are_written() {
        assert_eq!([plain("DnsName(\"localhost\")"), plain("IpAddress(127.0.0.1)")], ["localhost", "127.0.0.1"]);
    }

    #[test]
    fn what_is_not_about_tls_is_none_of_it() {
        assert_eq!(TlsFault::of(&io::Error::other("else")), None);
        assert_eq!(TlsFault::of_handshake(&io::Error::other("else")), None);
        assert_eq!(TlsFault::of_handshake(&io::ErrorKind::UnexpectedEof.into()), Some(TlsFault::HungUp));
        assert_eq!(TlsFault::of_plain_answer(&[21, 3, 3, 0, 2, 2, 80]), Some(TlsFault::OnlyTls));
        assert_eq!(TlsFault::of_plain_answer(&[0, 0, 0, 21]), None);
    }
}
