//! Who may come in: TLS and SASL on the listeners of a dev broker.
//!
//! A [`Door`] is made once, from the [`Config`](super::Config); each connection that comes in has a [`Guard`], which
//! sees its requests before anybody else does. Passwords are the users' own, kept in memory: this is a broker for
//! development. What SCRAM needs of them is the [`Users`](super::users::Users)', who come and go.

mod guard;
mod unsecured;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

pub use guard::{Around, Guard, Pass};

use super::{Config, Error};
use crate::protocol::sasl::{Mechanism, Secret};

/// What every listener asks its clients for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaslConfig {
    /// What is offered (`sasl.enabled.mechanisms`). OAUTHBEARER takes unsecured tokens, as Kafka does while nothing else is
    /// set up: whoever they say they are about is let in.
    pub mechanisms: Vec<Mechanism>,
    /// Who is known, by PLAIN and by both SCRAM mechanisms. Others can be made for SCRAM by request (KIP-554).
    pub users: Vec<User>,
    /// After so long a client must have proved anew who it is (`connections.max.reauth.ms`); `None`: it need not, unless its
    /// token ends.
    pub session_lifetime: Option<Duration>,
}

/// A user and a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub password: Secret,
}

impl User {
    pub fn new(name: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { name: name.into(), password: password.into() }
    }
}

/// A byte stream, secured or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a connection passes before its first request is handled.
pub struct Door {
    tls: Option<TlsAcceptor>,
    accounts: Option<Arc<Accounts>>,
}

impl Door {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(crate::tls::ServerOptions::config).transpose()?;
        if config.sasl.as_ref().is_some_and(|sasl| sasl.mechanisms.is_empty()) {
            return Err(Error::Config("SASL needs at least one mechanism".into()));
        }
        let accounts = config.sasl.clone().map(|config| Arc::new(Accounts { config }));
        Ok(Self { tls: tls.map(TlsAcceptor::from), accounts })
    }

    /// The stream to speak over.
    pub async fn open(&self, stream: impl Stream + 'static) -> io::Result<Box<dyn Stream>> {
        match &self.tls {
            Some(tls) => Ok(Box::new(tls.accept(stream).await?)),
            None => Ok(Box::new(stream)),
        }
    }

    pub fn guard(&self) -> Guard {
        Guard::new(self.accounts.clone())
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sasl = self.accounts.as_ref().map(|accounts| &accounts.config);
        f.debug_struct("Door").field("tls", &self.tls.is_some()).field("sasl", &sasl).finish()
    }
}

/// Who is known, and how they may prove it.
pub struct Accounts {
    config: SaslConfig,
}

impl Accounts {
    fn knows(&self, name: &str, password: &str) -> bool {
        self.config.users.iter().any(|user| user.name == name && user.password.reveal() == password)
    }
}
