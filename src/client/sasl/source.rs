//! Where tokens come from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Secret;

/// Longer files are not passwords or tokens; a broker takes no frame of more than half of this before it knows us.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Gives a token for each proof: it may be the same one as before, as long as it is valid.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    async fn token(&self) -> Result<Token, NoToken>;
}

/// A token, and what is said beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub value: Secret,
    /// Names and values that the broker's callback may want (KIP-342), such as `logicalCluster`.
    pub extensions: Vec<(String, String)>,
}

/// Why there is no token, or no password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    /// Whoever issues it says no: asking again does not help.
    #[error("{0}")]
    Refused(Arc<str>),
    /// It cannot be had at present.
    #[error("{0}")]
    Unavailable(Arc<str>),
}

impl Token {
    pub fn new(value: impl Into<Secret>) -> Self {
        Self { value: value.into(), extensions: Vec::new() }
    }

    /// Whom the token is about, if it is a JSON web token that says so. Nothing is verified: it is for messages only.
    pub(super) fn subject(&self) -> Option<Arc<str>> {
        let payload = self.value.reveal().split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
        claims.get("sub")?.as_str().map(Arc::from)
    }
}

/// A token that does not change.
#[async_trait]
impl TokenSource for Token {
    async fn token(&self) -> Result<Token, NoToken> {
        Ok(self.clone())
    }
}

/// A token in a file that somebody else keeps fresh; read for each proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    pub file: PathBuf,
    pub extensions: Vec<(String, String)>,
}

impl TokenFile {
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), extensions: Vec::new() }
    }
}

#[async_trait]
impl TokenSource for TokenFile {
    async fn token(&self) -> Result<Token, NoToken> {
        Ok(Token { value: read(&self.file, "token").await?, extensions: self.extensions.clone() })
    }
}

/// The text of a small file, without the line end after it.
pub(super) async fn read(file: &Path, what: &str) -> Result<Secret, NoToken> {
    let unavailable =
        |why: &dyn fmt::Display| NoToken::Unavailable(format!("{what} file {}: {why}", file.display()).into());
    let size = tokio::fs::metadata(file).await.map_err(|error| unavailable(&error))?.len();
    if size > SECRET_BYTES_MAX {
        return Err(unavailable(&format!("{size} bytes are no {what}")));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(|error| unavailable(&error))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(unavailable(&"it is empty")),
        text => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_read_each_time() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("token");
        let source = TokenFile::new(&file);
        let missing = source.token().await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(missing.starts_with(&format!("token file {}: ", file.display())), "{missing}");
        for (text, want) in [("one\n", Some("one")), ("two \r\n", Some("two ")), ("\n", None), ("", None)] {
            std::fs::write(&file, text)?;
            let token = source.token().await.ok();
            assert_eq!(token.as_ref().map(|token| token.value.reveal()), want);
        }
        Ok(())
    }

    #[test]
    fn subjects() {
        let check = |payload: &str, want: Option<&str>| {
            let token = Token::new(format!("x.{}.y", URL_SAFE_NO_PAD.encode(payload)));
            assert_eq!(token.subject().as_deref(), want);
        };
        check(r#"{"sub":"alice","exp":1}"#, Some("alice"));
        check(r#"{"exp":1}"#, None);
        check("no json", None);
        assert_eq!(Token::new("opaque").subject(), None);
    }
}
