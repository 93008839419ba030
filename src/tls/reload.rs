//! A client's TLS, as it is now: files that have changed are read again.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::{Files, TlsError, TlsOptions};

/// How a client's connections are secured. Cheap to clone; clones are one.
///
/// The files are looked at for every connection, by what they hold and not by their times: a certificate that was renewed
/// is used from then on, without a restart. Files that cannot be used (half of a pair has been replaced, say) leave what
/// was read before in place. A configuration that stays the same stays one, and with it its sessions.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    /// `None`: the configuration was given as it is.
    options: Option<TlsOptions>,
    server_name: Option<ServerName<'static>>,
    now: Mutex<Made>,
}

struct Made {
    of: Option<Files>,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads every file; what is wrong with one is said now.
    pub fn new(options: TlsOptions) -> Result<Self, TlsError> {
        let server_name = options
            .server_name
            .clone()
            .map(|name| ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName { name }));
        let server_name = server_name.transpose()?;
        let files = options.read()?;
        let config = options.made_of(&files)?;
        Ok(Self(Arc::new(Inner {
            options: Some(options),
            server_name,
            now: Mutex::new(Made { of: Some(files), config }),
        })))
    }

    /// The configuration for a connection that is made now. Reads files, on a thread that may wait for them.
    pub async fn now(&self) -> Arc<ClientConfig> {
        let looking = self.clone();
        let looked = tokio::task::spawn_blocking(move || looking.look()).await;
        looked.unwrap_or_else(|_| Arc::clone(&self.made().config))
    }

    /// The name that certificates must be for, if it is not the one by which a server is reached.
    pub fn server_name(&self) -> Option<&ServerName<'static>> {
        self.0.server_name.as_ref()
    }

    fn made(&self) -> std::sync::MutexGuard<'_, Made> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn look(&self) -> Arc<ClientConfig> {
        let Some(options) = &self.0.options else { return Arc::clone(&self.made().config) };
        let files = options.read();
        let mut made = self.made();
        let changed = files.map(|files| (made.of.as_ref() != Some(&files)).then_some(files));
        let remade = changed.and_then(|files| files.map(|files| Ok((options.made_of(&files)?, files))).transpose());
        match remade {
            Ok(None) => {}
            Ok(Some((config, files))) => {
                tracing::info!("TLS files have changed; new connections use them");
                *made = Made { of: Some(files), config };
            }
            Err(error) => {
                tracing::warn!(%error, "TLS files cannot be used as they are now; what was read before stays in use");
            }
        }
        Arc::clone(&made.config)
    }
}

impl From<Arc<ClientConfig>> for Tls {
    /// A configuration as it is, which never changes.
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(Arc::new(Inner { options: None, server_name: None, now: Mutex::new(Made { of: None, config }) }))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("options", &self.0.options).finish_non_exhaustive()
    }
}
