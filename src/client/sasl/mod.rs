//! Proving who we are to a broker, on every connection and again before the proof ends.
//!
//! [`Sasl`] is what a client is given: a mechanism and where its credentials come from. For each proof they are fetched
//! anew ([`Sasl::credentials`]), so a password or token file that changes needs no restart; what is then said and heard is
//! an [`exchange`], pure; [`handshake`](super::handshake) carries it over a connection, which renews it before the session
//! ends (KIP-368).
//!
//! What must stay true:
//! - a secret is in no log, no error and no `Debug`;
//! - a broker that refuses the credentials is not asked again with them until somebody calls, and then no sooner than
//!   [`REFUSED_PAUSE`] later: each try counts against the user where accounts are locked;
//! - a broker that cannot prove itself, where the mechanism has it do so, gets nothing more from us.

pub(super) mod exchange;
mod oidc;
mod refusal;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use oidc::{Oidc, OidcConfig};
pub use refusal::{Refusal, RefusalReason};
pub use source::{NoToken, Token, TokenFile, TokenSource};

use self::exchange::Credentials;
use crate::protocol::sasl::scram::Hash;
pub use crate::protocol::sasl::{Mechanism, Secret};

/// After a refusal, the broker is left alone for so long.
pub(super) const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// Who we are, and how we prove it.
#[derive(Debug, Clone)]
pub enum Sasl {
    /// The password as it is: only over TLS.
    Plain(Login),
    ScramSha256(Login),
    ScramSha512(Login),
    OAuthBearer(Arc<dyn TokenSource>),
}

/// A user and a password.
#[derive(Debug, Clone)]
pub struct Login {
    pub user: String,
    pub password: Password,
}

/// Where a password comes from.
#[derive(Debug, Clone)]
pub enum Password {
    Given(Secret),
    /// Read for each proof; a line end after it is not part of it.
    File(PathBuf),
}

impl Login {
    pub fn new(user: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { user: user.into(), password: Password::Given(password.into()) }
    }
}

impl Sasl {
    pub fn mechanism(&self) -> Mechanism {
        match self {
            Self::Plain(_) => Mechanism::Plain,
            Self::ScramSha256(_) => Mechanism::ScramSha256,
            Self::ScramSha512(_) => Mechanism::ScramSha512,
            Self::OAuthBearer(_) => Mechanism::OAuthBearer,
        }
    }

    /// What this proof is made with, and the user that it is for, as far as one can tell.
    pub(super) async fn credentials(&self) -> Result<(Credentials, Option<Arc<str>>), NoToken> {
        let login = match self {
            Self::Plain(login) | Self::ScramSha256(login) | Self::ScramSha512(login) => login,
            Self::OAuthBearer(source) => {
                let token = source.token().await?;
                let subject = token.subject();
                return Ok((Credentials::Bearer(token), subject));
            }
        };
        let (user, password) = (Arc::from(login.user.as_str()), login.password.read().await?);
        let credentials = match Hash::of(self.mechanism()) {
            Some(hash) => Credentials::Scram { hash, user: login.user.clone(), password },
            None => Credentials::Plain { user: login.user.clone(), password },
        };
        Ok((credentials, Some(user)))
    }
}

impl Password {
    async fn read(&self) -> Result<Secret, NoToken> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(file) => source::read(file, "password").await,
        }
    }
}
