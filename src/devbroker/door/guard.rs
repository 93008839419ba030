//! What one connection may say, and when: Kafka's order of events (`SaslServerAuthenticator`), without its threads.
//!
//! Before a client has proved who it is it may ask for versions and begin a proof; anything else ends the connection, as
//! does everything but the next token in the middle of one. A proof that fails is told, in Kafka's words, and ends the
//! connection. A session that has ended can only be renewed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Accounts, unsecured};
use crate::devbroker::clock::Now;
use crate::protocol::api::{Request, Response};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use crate::protocol::sasl::scram::{Challenge, Credential, Greeting};
use crate::protocol::sasl::{Mechanism, oauthbearer, plain};

/// What becomes of a request.
#[derive(Debug, PartialEq)]
pub enum Pass {
    /// It may be handled.
    Through,
    Answer(Response),
    /// It is answered, and the connection ends.
    Last(Response),
    Close(&'static str),
}

/// What a proof needs from outside: the time, a nonce drawn at random, and what is kept of a user's password.
pub struct Around<'a> {
    pub now: Now,
    pub nonce: &'a dyn Fn() -> String,
    pub credential: &'a dyn Fn(Mechanism, &str) -> Option<Credential>,
}

/// One connection's.
pub struct Guard {
    /// `None`: everybody may come in.
    accounts: Option<Arc<Accounts>>,
    session: Option<Session>,
    proof: Option<Proof>,
}

/// Who a client has proved to be.
struct Session {
    user: String,
    mechanism: Mechanism,
    ends: Option<Instant>,
}

/// How far a client has come in proving who it is.
enum Proof {
    Begun(Mechanism),
    Challenged(Mechanism, String, Challenge),
    /// The token was refused; the client has yet to acknowledge that.
    Refused(String),
}

/// What a client's token leads to.
enum Outcome {
    Next(Vec<u8>, Proof),
    Proved { user: String, mechanism: Mechanism, last: Vec<u8>, token_ends_unix_ms: Option<i64> },
    Failed(String),
}

impl Guard {
    pub fn new(accounts: Option<Arc<Accounts>>) -> Self {
        Self { accounts, session: None, proof: None }
    }

    /// Whether the client may say anything at all.
    pub fn is_passed(&self) -> bool {
        self.accounts.is_none() || self.session.is_some()
    }

    /// Looks at a request.
    pub fn meet(&mut self, request: &Request, around: &Around<'_>) -> Pass {
        let Some(accounts) = self.accounts.clone() else { return unasked(request) };
        match (request, self.proof.take()) {
            (Request::SaslAuthenticate(request), Some(proof)) => self.prove(&accounts, proof, request, around),
            (_, Some(_)) => Pass::Close("a proof was begun, and something else was said"),
            (Request::SaslHandshake(request), None) => self.begin(&accounts, request),
            (request, None) => self.admit(request, around.now),
        }
    }

    fn admit(&self, request: &Request, now: Now) -> Pass {
        match &self.session {
            Some(session) if session.ends.is_some_and(|ends| ends <= now.instant) => {
                Pass::Close("the session has ended")
            }
            Some(_) => unasked(request),
            None if matches!(request, Request::ApiVersions(_)) => Pass::Through,
            None => Pass::Close("the client has not proved who it is"),
        }
    }

    fn begin(&mut self, accounts: &Accounts, request: &SaslHandshakeRequest) -> Pass {
        if self.session.as_ref().is_some_and(|session| session.ends.is_none()) {
            return unasked(&Request::SaslHandshake(request.clone()));
        }
        let offered = &accounts.config.mechanisms;
        let mechanisms = offered.iter().map(|mechanism| mechanism.name().into()).collect();
        match Mechanism::by_name(&request.mechanism).filter(|wanted| offered.contains(wanted)) {
            Some(mechanism) => {
                self.proof = Some(Proof::Begun(mechanism));
                Pass::Answer(SaslHandshakeResponse { error_code: 0, mechanisms }.into())
            }
            None => {
                let error_code = ErrorCode::UNSUPPORTED_SASL_MECHANISM.into();
                Pass::Last(SaslHandshakeResponse { error_code, mechanisms }.into())
            }
        }
    }

    fn prove(
        &mut self,
        accounts: &Accounts,
        proof: Proof,
        request: &SaslAuthenticateRequest,
        around: &Around<'_>,
    ) -> Pass {
        let outcome = match proof {
            Proof::Begun(mechanism) => judge(accounts, mechanism, &request.auth_bytes.0, around),
            Proof::Challenged(mechanism, user, challenge) => match challenge.judge(&request.auth_bytes.0) {
                Ok(last) => Outcome::Proved { user, mechanism, last, token_ends_unix_ms: None },
                Err(_) => Outcome::Failed(invalid(mechanism)),
            },
            Proof::Refused(why) => Outcome::Failed(why),
        };
        match outcome {
            Outcome::Next(auth_bytes, proof) => {
                self.proof = Some(proof);
                Pass::Answer(answer(auth_bytes, Duration::ZERO))
            }
            Outcome::Proved { user, mechanism, last, token_ends_unix_ms } => {
                let token = token_ends_unix_ms.map(|ends| Duration::from_millis(ends.abs_diff(around.now.unix_ms)));
                let lifetime = [accounts.config.session_lifetime, token].into_iter().flatten().min();
                self.enter(user, mechanism, lifetime, around.now, last)
            }
            Outcome::Failed(words) => failed(&words),
        }
    }

    /// Lets a client in, or lets it stay, if it is still the same one.
    fn enter(
        &mut self,
        user: String,
        mechanism: Mechanism,
        lifetime: Option<Duration>,
        now: Now,
        last: Vec<u8>,
    ) -> Pass {
        if let Some(before) = &self.session {
            if before.mechanism != mechanism {
                return failed(&format!(
                    "SASL mechanism '{mechanism}' requested by client is not supported for re-authentication of mechanism '{}'",
                    before.mechanism
                ));
            }
            if before.user != user {
                let before = &before.user;
                return failed(&format!(
                    "Cannot change principals during re-authentication from User.{before}: User.{user}"
                ));
            }
        }
        let ends = lifetime.and_then(|lifetime| now.instant.checked_add(lifetime));
        self.session = Some(Session { user, mechanism, ends });
        Pass::Answer(answer(last, lifetime.unwrap_or_default()))
    }
}

/// A client's first token.
fn judge(accounts: &Accounts, mechanism: Mechanism, said: &[u8], around: &Around<'_>) -> Outcome {
    match mechanism {
        Mechanism::Plain => match plain::parse(said) {
            Ok((user, password)) if accounts.knows(user, password) => {
                let user = user.to_owned();
                Outcome::Proved { user, mechanism, last: Vec::new(), token_ends_unix_ms: None }
            }
            Ok(_) => Outcome::Failed("Authentication failed: Invalid username or password".to_owned()),
            Err(error) => Outcome::Failed(format!("Authentication failed: {error}")),
        },
        Mechanism::ScramSha256 | Mechanism::ScramSha512 => {
            let greeting = Greeting::parse(said).ok();
            let known = greeting.and_then(|greeting| {
                let credential = (around.credential)(mechanism, &greeting.user)?;
                Some((greeting, credential))
            });
            let Some((greeting, credential)) = known else { return Outcome::Failed(invalid(mechanism)) };
            let user = greeting.user.clone();
            let (message, challenge) = greeting.challenge(credential, &(around.nonce)());
            Outcome::Next(message, Proof::Challenged(mechanism, user, challenge))
        }
        Mechanism::OAuthBearer => {
            match oauthbearer::parse(said).map(|token| unsecured::read(token, around.now.unix_ms)) {
                Ok(Ok(claims)) => Outcome::Proved {
                    user: claims.subject,
                    mechanism,
                    last: Vec::new(),
                    token_ends_unix_ms: Some(claims.expires_unix_ms),
                },
                Ok(Err(_)) => {
                    let why = r#"{"status":"invalid_token"}"#;
                    Outcome::Next(why.into(), Proof::Refused(why.to_owned()))
                }
                Err(_) => Outcome::Failed(invalid(mechanism)),
            }
        }
    }
}

/// What SASL requests are told where nobody asked for them.
fn unasked(request: &Request) -> Pass {
    let error_code = ErrorCode::ILLEGAL_SASL_STATE.into();
    match request {
        Request::SaslHandshake(_) => {
            Pass::Answer(SaslHandshakeResponse { error_code, ..SaslHandshakeResponse::default() }.into())
        }
        Request::SaslAuthenticate(_) => {
            let words = "SaslAuthenticate request received after successful authentication";
            let error_message = Some(words.into());
            Pass::Answer(
                SaslAuthenticateResponse { error_code, error_message, ..SaslAuthenticateResponse::default() }.into(),
            )
        }
        _ => Pass::Through,
    }
}

/// Kafka's words, which do not tell whether there is such a user.
fn invalid(mechanism: Mechanism) -> String {
    format!("Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}")
}

fn answer(auth_bytes: Vec<u8>, lifetime: Duration) -> Response {
    SaslAuthenticateResponse {
        error_code: 0,
        error_message: None,
        auth_bytes: auth_bytes.into(),
        session_lifetime_ms: i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
    }
    .into()
}

fn failed(words: &str) -> Pass {
    let error_code = ErrorCode::SASL_AUTHENTICATION_FAILED.into();
    Pass::Last(
        SaslAuthenticateResponse {
            error_code,
            error_message: Some(words.into()),
            ..SaslAuthenticateResponse::default()
        }
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devbroker::door::{SaslConfig, User};
    use crate::devbroker::users::Users;
    use crate::protocol::messages::{ApiVersionsRequest, MetadataRequest};

    fn config(session_lifetime: Option<Duration>) -> SaslConfig {
        let mechanisms = vec![Mechanism::Plain, Mechanism::ScramSha256];
        let users = vec![User::new("alice", "secret"), User::new("bob", "secret")];
        SaslConfig { mechanisms, users, session_lifetime }
    }

    fn guard(session_lifetime: Option<Duration>) -> Guard {
        Guard::new(Some(Arc::new(Accounts { config: config(session_lifetime) })))
    }

    fn at(seconds: u64) -> Now {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        Now { instant: *START.get_or_init(Instant::now) + Duration::from_secs(seconds), unix_ms: 0 }
    }

    /// Says one word after the other, each at its second, and writes down what became of it.
    fn said(guard: &mut Guard, words: &str) -> String {
        static USERS: std::sync::OnceLock<Users> = std::sync::OnceLock::new();
        let users = USERS.get_or_init(|| Users::of(Some(&config(None)), || [7; 16]));
        let outcome = |word: &str| {
            let (seconds, word) = word.split_once(':').unwrap_or(("0", word));
            let around = Around {
                now: at(seconds.parse().unwrap_or(0)),
                nonce: &|| "nonce".to_owned(),
                credential: &|mechanism, user| users.credential(mechanism, user).cloned(),
            };
            let pass = guard.meet(&request(word), &around);
            match pass {
                Pass::Through => "ok".to_owned(),
                Pass::Close(_) => "closed".to_owned(),
                Pass::Answer(response) => code(&response),
                Pass::Last(response) => format!("{}!", code(&response)),
            }
        };
        words.split_whitespace().map(outcome).collect::<Vec<_>>().join(" ")
    }

    fn request(word: &str) -> Request {
        let token = |bytes: &[u8]| SaslAuthenticateRequest { auth_bytes: bytes.to_vec().into() }.into();
        match word {
            "versions" => ApiVersionsRequest::default().into(),
            "metadata" => MetadataRequest::default().into(),
            "alice" => token(b"\0alice\0secret"),
            "bob" => token(b"\0bob\0secret"),
            "wrong" => token(b"\0alice\0guess"),
            "greeting" => token(b"n,,n=alice,r=x"),
            "stranger" => token(b"n,,n=eve,r=x"),
            "garbage" => token(b"\xff"),
            mechanism => SaslHandshakeRequest { mechanism: mechanism.into() }.into(),
        }
    }

    fn code(response: &Response) -> String {
        let code = match response {
            Response::SaslHandshake(it) => it.error_code,
            Response::SaslAuthenticate(it) if it.session_lifetime_ms > 0 => {
                return format!("{}ms", it.session_lifetime_ms);
            }
            Response::SaslAuthenticate(it) => it.error_code,
            other => panic!("{other:?}"),
        };
        code.to_string()
    }

    #[test]
    fn the_order_of_events_is_kafkas() {
        let check = |lifetime: Option<u64>, words: &str, want: &str| {
            assert_eq!(said(&mut guard(lifetime.map(Duration::from_secs)), words), want, "{words}");
        };
        check(None, "versions versions PLAIN alice metadata", "ok ok 0 0 ok");
        check(None, "metadata", "closed");
        check(None, "alice", "closed");
        check(None, "PLAIN versions", "0 closed");
        check(None, "PLAIN PLAIN", "0 closed");
        check(None, "GSSAPI", "33!");
        check(None, "OAUTHBEARER", "33!");
        check(None, "PLAIN wrong", "0 58!");
        check(None, "PLAIN garbage", "0 58!");
        check(None, "SCRAM-SHA-256 greeting garbage", "0 0 58!");
        check(None, "SCRAM-SHA-256 stranger", "0 58!");
        // Without an end there is nothing to renew.
        check(None, "PLAIN alice PLAIN metadata alice", "0 0 34 ok 34");
        check(Some(10), "PLAIN alice 9:metadata 10:metadata", "0 10000ms ok closed");
        check(Some(10), "PLAIN alice 9:PLAIN 9:alice 18:metadata 19:metadata", "0 10000ms 0 10000ms ok closed");
        check(Some(10), "PLAIN alice 12:PLAIN 12:alice 12:metadata", "0 10000ms 0 10000ms ok");
        check(Some(10), "PLAIN alice PLAIN metadata", "0 10000ms 0 closed");
        check(Some(10), "PLAIN alice PLAIN bob", "0 10000ms 0 58!");
        check(Some(10), "PLAIN alice PLAIN wrong", "0 10000ms 0 58!");
    }

    #[test]
    fn without_accounts_everybody_may_come_in() {
        assert_eq!(said(&mut Guard::new(None), "metadata PLAIN alice metadata"), "ok 34 34 ok");
    }
}
