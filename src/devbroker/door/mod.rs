//! Who may come in: TLS and SASL on the listeners of a dev broker.
//!
//! A [`Door`] is made once, from the [`Config`](super::Config); each connection that comes in has a [`Guard`], which
//! sees its requests before anybody else does. Passwords are the users' own, kept in memory: this is a broker for
//! development.

mod guard;
mod unsecured;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

pub use guard::{Guard, Pass};

use super::{Config, Error};
use crate::protocol::sasl::scram::{Credential, Hash};
use crate::protocol::sasl::{Mechanism, Secret};

/// Of the SCRAM credentials that are made at the start, as many as Kafka makes them with.
const ITERATIONS: u32 = 4096;

/// What every listener asks its clients for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaslConfig {
    /// What is offered (`sasl.enabled.mechanisms`). OAUTHBEARER takes unsecured tokens, as Kafka does while nothing else is
    /// set up: whoever they say they are about is let in.
    pub mechanisms: Vec<Mechanism>,
    /// Who is known, by PLAIN and by both SCRAM mechanisms.
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
    /// Makes every user's credentials. Slow by design.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(crate::tls::ServerOptions::config).transpose()?;
        if config.sasl.as_ref().is_some_and(|sasl| sasl.mechanisms.is_empty()) {
            return Err(Error::Config("SASL needs at least one mechanism".into()));
        }
        let accounts = config.sasl.clone().map(|sasl| Arc::new(Accounts::new(sasl)));
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

/// Who is known, and what is kept of their passwords.
pub struct Accounts {
    config: SaslConfig,
    scram: HashMap<(Mechanism, String), Credential>,
}

impl Accounts {
    fn new(config: SaslConfig) -> Self {
        let mut scram = HashMap::new();
        for mechanism in &config.mechanisms {
            let Some(hash) = Hash::of(*mechanism) else { continue };
            for user in &config.users {
                let salt = rand::random::<[u8; 16]>().to_vec();
                let credential = Credential::new(hash, user.password.reveal(), salt, ITERATIONS);
                scram.insert((*mechanism, user.name.clone()), credential);
            }
        }
        Self { config, scram }
    }

    fn knows(&self, name: &str, password: &str) -> bool {
        self.config.users.iter().any(|user| user.name == name && user.password.reveal() == password)
    }
}
