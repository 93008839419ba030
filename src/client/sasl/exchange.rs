//! What is said and heard in one proof: pure, from credentials and a nonce.

use crate::client::sasl::Token;
use crate::protocol::sasl::scram::{ClientFirst, ClientLast, Hash};
use crate::protocol::sasl::{SaslError, Secret, oauthbearer, plain};

/// What a proof is made with.
#[derive(Debug)]
pub enum Credentials {
    Plain { user: String, password: Secret },
    Scram { hash: Hash, user: String, password: Secret },
    Bearer(Token),
}

/// A proof under way: it waits for what the broker says next.
#[derive(Debug)]
pub enum Exchange {
    /// All has been said; the broker's verdict comes with its answer.
    Said,
    Greeted {
        first: ClientFirst,
        password: Secret,
    },
    Proved(ClientLast),
    Presented,
    /// The broker has said why it refuses the token, and will say so again as its verdict.
    Acknowledged(String),
}

/// What follows from what the broker said.
#[derive(Debug)]
pub enum Step {
    Say(Vec<u8>, Exchange),
    Over,
}

impl Exchange {
    /// The first message. `nonce` is drawn at random for this proof; only some mechanisms need it.
    pub fn begin(credentials: Credentials, nonce: String) -> Result<(Vec<u8>, Self), SaslError> {
        match credentials {
            Credentials::Plain { user, password } => Ok((plain::message(&user, password.reveal())?, Self::Said)),
            Credentials::Scram { hash, user, password } => {
                let first = ClientFirst::new(hash, &user, nonce)?;
                Ok((first.message(), Self::Greeted { first, password }))
            }
            Credentials::Bearer(token) => {
                Ok((oauthbearer::message(token.value.reveal(), &token.extensions)?, Self::Presented))
            }
        }
    }

    /// Takes what the broker said, where it had no objection. Slow in the middle of SCRAM, by design.
    pub fn hear(self, said: &[u8]) -> Result<Step, SaslError> {
        match self {
            Self::Said => Ok(Step::Over),
            Self::Greeted { first, password } => {
                let (message, last) = first.answer(said, password.reveal())?;
                Ok(Step::Say(message, Self::Proved(last)))
            }
            Self::Proved(last) => last.check(said).map(|()| Step::Over),
            Self::Presented if said.is_empty() => Ok(Step::Over),
            Self::Presented => {
                let why = String::from_utf8_lossy(said).into_owned();
                Ok(Step::Say(oauthbearer::ACKNOWLEDGEMENT.to_vec(), Self::Acknowledged(why)))
            }
            Self::Acknowledged(why) => Err(SaslError::Refused(why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sasl::scram::{Credential, Greeting};

    fn say(step: Result<Step, SaslError>) -> Result<(Vec<u8>, Exchange), SaslError> {
        match step? {
            Step::Say(message, next) => Ok((message, next)),
            Step::Over => Err(SaslError::Malformed("over too early")),
        }
    }

    #[test]
    fn plain_says_all_at_once() -> Result<(), SaslError> {
        let credentials = Credentials::Plain { user: "u".to_owned(), password: "p".into() };
        let (message, exchange) = Exchange::begin(credentials, String::new())?;
        assert_eq!(message, b"\0u\0p");
        assert!(matches!(exchange.hear(b"")?, Step::Over));
        Ok(())
    }

    #[test]
    fn scram_is_over_only_when_the_broker_has_proved_itself() -> Result<(), SaslError> {
        let begun = || {
            let credentials = Credentials::Scram { hash: Hash::Sha512, user: "u".to_owned(), password: "p".into() };
            Exchange::begin(credentials, "nonce".to_owned())
        };
        let (message, exchange) = begun()?;
        let credential = Credential::new(Hash::Sha512, "p", vec![7], 4096);
        let (challenge, judge) = Greeting::parse(&message)?.challenge(credential, "s");
        let (proof, exchange) = say(exchange.hear(&challenge))?;
        assert!(matches!(exchange.hear(&judge.judge(&proof)?)?, Step::Over));
        let (_, exchange) = say(begun()?.1.hear(&challenge))?;
        assert!(matches!(exchange.hear(b""), Err(SaslError::Malformed(_))));
        Ok(())
    }

    #[test]
    fn a_refused_token_is_acknowledged_and_then_an_error() -> Result<(), SaslError> {
        let begun = || Exchange::begin(Credentials::Bearer(Token::new("a.b.c")), String::new());
        let (message, exchange) = begun()?;
        assert_eq!(message, b"n,,\x01auth=Bearer a.b.c\x01\x01");
        assert!(matches!(exchange.hear(b"")?, Step::Over));
        let (message, exchange) = say(begun()?.1.hear(b"{\"status\":\"invalid_token\"}"))?;
        assert_eq!(message, b"\x01");
        assert!(matches!(exchange.hear(b""), Err(SaslError::Refused(why)) if why.contains("invalid_token")));
        Ok(())
    }

    #[test]
    fn nothing_of_it_shows_a_secret() -> Result<(), SaslError> {
        let login = || Credentials::Scram { hash: Hash::Sha256, user: "u".to_owned(), password: "hunter2".into() };
        let shown = [
            format!("{:?}", login()),
            format!("{:?}", Exchange::begin(login(), "n".to_owned())?.1),
            format!("{:?}", Credentials::Bearer(Token::new("hunter2"))),
        ];
        assert!(!shown.concat().contains("hunter2"), "{shown:?}");
        Ok(())
    }
}
