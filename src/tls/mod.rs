//! TLS for every room: our few options in, one rustls configuration out.
//!
//! [`TlsOptions`] become a client's [`Tls`], [`ServerOptions`] a server's configuration. The cryptography is graviola's, through
//! rustls-graviola: no C, and so no other processors than it has assembly for. It panics on those; [`provider`] looks
//! first and returns [`TlsError::Cpu`]. Libraries that make their own configuration (fred, mongodb) find the provider
//! that [`install_provider`] put in place; call it before they open a connection.
//!
//! What must stay true: every mistake in a file names the file, and is found when the configuration is made, not when a
//! connection is; certificates are always verified, against the given CAs or the system's, never both; a file that has
//! changed is used by the connections made after that, and one that has changed for the worse by none. What goes wrong
//! with a connection is a [`TlsFault`], which says whose certificate it was and what is wrong with it.
//!
//! Absent on purpose: a switch to skip verification (give the CA instead), passwords for keys, CRLs, and ALPN (Kafka has
//! one protocol).

mod fault;
mod reload;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use fault::TlsFault;
pub use reload::Tls;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

/// How a client proves who it is and whom it trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsOptions {
    /// PEM file of the CAs that servers are verified against; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate and then those that signed it; with `key_file` or not at all.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the certificate's private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key_file: Option<PathBuf>,
    /// The name that servers' certificates must be for; `None`: the one by which each was reached.
    pub server_name: Option<String>,
}

/// What the files of [`TlsOptions`] hold.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    cert: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

/// How a server proves who it is, and which clients it lets in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerOptions {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// PEM file of the CAs that every client's certificate must come from; `None`: clients need none.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("TLS needs processor features that this machine lacks: {}", .missing.join(", "))]
    Cpu { missing: Vec<&'static str> },
    #[error("{file}: cannot be read", file = .file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{file}: is not PEM", file = .file.display())]
    NotPem { file: PathBuf },
    #[error("{file}: PEM is broken: {source}", file = .file.display())]
    BrokenPem { file: PathBuf, source: pem::Error },
    #[error("{file}: has no certificate in it", file = .file.display())]
    NoCertificate { file: PathBuf },
    #[error("{file}: has no private key in it", file = .file.display())]
    NoKey { file: PathBuf },
    #[error("{file}: the private key is encrypted; decrypt it first (openssl pkey -in {file})", file = .file.display())]
    EncryptedKey { file: PathBuf },
    #[error("{cert_file} is not the certificate of the key in {key_file}", cert_file = .cert_file.display(), key_file = .key_file.display())]
    KeyMismatch { cert_file: PathBuf, key_file: PathBuf },
    #[error("{file}: cannot be used", file = .file.display())]
    Unusable { file: PathBuf, source: rustls::Error },
    #[error("{given} is set, and {missing} is not: a certificate needs its key, and a key its certificate")]
    Half { given: &'static str, missing: &'static str },
    #[error("server_name {name:?} is neither a host name nor an address")]
    ServerName { name: String },
    #[error("this system has no CA certificates; set ca_file{}", list(.faults))]
    NoSystemCas { faults: Vec<String> },
    #[error("{file}: cannot verify clients: {reason}", file = .file.display())]
    ClientCas { file: PathBuf, reason: String },
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

fn list(faults: &[String]) -> String {
    if faults.is_empty() { String::new() } else { format!(" ({})", faults.join("; ")) }
}

/// Makes our provider the process's, for libraries that ask for the default one. A provider that is already in place
/// stays.
pub fn install_provider() -> Result<(), TlsError> {
    let provider = provider()?;
    if CryptoProvider::get_default().is_none() {
        // Of two at once, the first wins; both are the same.
        let _ = provider.install_default();
    }
    Ok(())
}

/// The cryptography, if this machine's processor can run it.
pub fn provider() -> Result<CryptoProvider, TlsError> {
    let missing = missing(&cpu_features());
    if missing.is_empty() { Ok(rustls_graviola::default_provider()) } else { Err(TlsError::Cpu { missing }) }
}

fn missing(features: &[(&'static str, bool)]) -> Vec<&'static str> {
    features.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect()
}

/// What graviola 0.4 asserts before its first use (`low/x86_64/cpu.rs`), and bmi2, which its assembly uses.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as has;
    vec![
        ("aes", has!("aes")),
        ("pclmulqdq", has!("pclmulqdq")),
        ("bmi1", has!("bmi1")),
        ("bmi2", has!("bmi2")),
        ("adx", has!("adx")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
    ]
}

/// What graviola 0.4 asserts before its first use (`low/aarch64/cpu.rs`).
#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<(&'static str, bool)> {
    use std::arch::is_aarch64_feature_detected as has;
    vec![("neon", has!("neon")), ("aes", has!("aes")), ("pmull", has!("pmull")), ("sha2", has!("sha2"))]
}

impl TlsOptions {
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        self.made_of(&self.read()?)
    }

    fn read(&self) -> Result<Files, TlsError> {
        let read = |file: &Option<PathBuf>| file.as_deref().map(read_pem).transpose();
        Ok(Files { ca: read(&self.ca_file)?, cert: read(&self.cert_file)?, key: read(&self.key_file)? })
    }

    fn made_of(&self, files: &Files) -> Result<Arc<ClientConfig>, TlsError> {
        let builder =
            ClientConfig::builder_with_provider(Arc::new(provider()?)).with_safe_default_protocol_versions()?;
        let roots = match self.ca_file.as_deref().zip(files.ca.as_deref()) {
            Some((file, text)) => cas(file, text)?,
            None => system_cas()?,
        };
        let builder = builder.with_root_certificates(roots);
        let cert = self.cert_file.as_deref().zip(files.cert.as_deref());
        let key = self.key_file.as_deref().zip(files.key.as_deref());
        let config = match (cert, key) {
            (Some((cert_file, cert)), Some((key_file, key))) => builder
                .with_client_auth_cert(certificates(cert_file, cert)?, private_key(key_file, key)?)
                .map_err(|error| unfit(error, cert_file, key_file))?,
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(TlsError::Half { given: "cert_file", missing: "key_file" }),
            (None, Some(_)) => return Err(TlsError::Half { given: "key_file", missing: "cert_file" }),
        };
        Ok(Arc::new(config))
    }
}

impl ServerOptions {
    pub fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(provider()?);
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let roots = Arc::new(cas(file, &read_pem(file)?)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                let refused = |error: rustls::server::VerifierBuilderError| TlsError::ClientCas {
                    file: file.clone(),
                    reason: error.to_string(),
                };
                builder.with_client_cert_verifier(verifier.map_err(refused)?)
            }
        };
        let (cert, key) = (read_pem(&self.cert_file)?, read_pem(&self.key_file)?);
        let config = builder
            .with_single_cert(certificates(&self.cert_file, &cert)?, private_key(&self.key_file, &key)?)
            .map_err(|error| unfit(error, &self.cert_file, &self.key_file))?;
        Ok(Arc::new(config))
    }
}

fn cas(file: &Path, text: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, text)? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { file: file.to_owned(), source })?;
    }
    Ok(roots)
}

/// One that cannot be read among the system's hundred is no reason to trust none.
fn system_cas() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err(TlsError::NoSystemCas { faults: found.errors.iter().map(ToString::to_string).collect() });
    }
    Ok(roots)
}

fn certificates(file: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let broken = |source| TlsError::BrokenPem { file: file.to_owned(), source };
    let found = CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(broken)?;
    if found.is_empty() { Err(TlsError::NoCertificate { file: file.to_owned() }) } else { Ok(found) }
}

fn private_key(file: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let file = file.to_owned();
    // PKCS#8 says it in its label, the older forms in a header line (RFC 1421).
    if contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(text, b"Proc-Type: 4,ENCRYPTED") {
        return Err(TlsError::EncryptedKey { file });
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(TlsError::NoKey { file }),
        Err(source) => Err(TlsError::BrokenPem { file, source }),
    }
}

fn read_pem(file: &Path) -> Result<Vec<u8>, TlsError> {
    let text = std::fs::read(file).map_err(|source| TlsError::Read { file: file.to_owned(), source })?;
    if contains(&text, b"-----BEGIN ") { Ok(text) } else { Err(TlsError::NotPem { file: file.to_owned() }) }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

fn unfit(error: rustls::Error, cert_file: &Path, key_file: &Path) -> TlsError {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::KeyMismatch { cert_file: cert_file.to_owned(), key_file: key_file.to_owned() }
        }
        // What is wrong with a certificate is said as such; all else is about the key.
        rustls::Error::InvalidCertificate(_) => TlsError::Unusable { file: cert_file.to_owned(), source: error },
        _ => TlsError::Unusable { file: key_file.to_owned(), source: error },
    }
}

#[cfg(test)]
mod tests;
