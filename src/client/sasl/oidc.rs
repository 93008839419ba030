//! Tokens from an identity provider: the client credentials grant (RFC 6749, section 4.4), as Kafka's own clients have it
//! (KIP-768).
//!
//! A token is kept, shared by all connections, for four fifths of its life, as in Java; one that the provider cannot renew
//! is used to its end. The provider is reached over HTTPS, and over plain HTTP on this machine only: the client's secret
//! is in the request.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::{NoToken, Password, Token, TokenSource};
use crate::client::error::Error;
use crate::net::http::Http;
use crate::net::{self, Address, Dial};
use crate::tls::Tls;

/// No answer with a token in it is longer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Where tokens come from, and for whom.
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// `https://host[:port]/path` (`sasl.oauthbearer.token.endpoint.url`).
    pub token_endpoint: String,
    pub client_id: String,
    pub client_secret: Password,
    pub scope: Option<String>,
    /// Whom to trust at the endpoint.
    pub tls: Tls,
    /// Said beside the token (KIP-342).
    pub extensions: Vec<(String, String)>,
    /// Whether id and secret are encoded before they become a header, as the law has it (RFC 6749, section 2.3.1) and few
    /// providers do (`sasl.oauthbearer.header.urlencode`).
    pub encode_credentials: bool,
    /// For one question.
    pub timeout: Duration,
}

impl OidcConfig {
    /// Like Java's defaults.
    pub fn new(
        token_endpoint: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: Password,
        tls: Tls,
    ) -> Self {
        Self {
            token_endpoint: token_endpoint.into(),
            client_id: client_id.into(),
            client_secret,
            scope: None,
            tls,
            extensions: Vec::new(),
            encode_credentials: false,
            timeout: Duration::from_secs(10),
        }
    }
}

/// An identity provider, with the token that was last had from it.
pub struct Oidc {
    config: OidcConfig,
    endpoint: Uri,
    address: Address,
    dial: Dial,
    held: Mutex<Option<Held>>,
}

#[derive(Debug, Clone)]
struct Held {
    token: Token,
    renew_at: Instant,
    ends: Instant,
}

impl Oidc {
    /// Asks nobody yet.
    pub fn new(config: OidcConfig) -> Result<Self, Error> {
        let limit = config.timeout;
        let secure = config.token_endpoint.starts_with("https:");
        let dial = net::tcp(secure.then(|| config.tls.clone()), limit);
        Self::over(config, dial)
    }

    /// The same, over streams that the caller makes.
    pub fn over(config: OidcConfig, dial: Dial) -> Result<Self, Error> {
        let (endpoint, address) = parsed(&config.token_endpoint)?;
        Ok(Self { config, endpoint, address, dial, held: Mutex::default() })
    }

    async fn ask(&self) -> Result<(Token, Option<Duration>), NoToken> {
        let secret = self.config.client_secret.read().await?;
        let limit = self.config.timeout;
        let request = self.request(secret.reveal())?;
        let answer = timeout(limit, self.post(request)).await;
        let (status, body) = answer.map_err(|_| self.unavailable(&format!("no answer within {limit:?}")))??;
        self.understood(status, &body)
    }

    fn request(&self, secret: &str) -> Result<Request<Full<Bytes>>, NoToken> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(scope) = &self.config.scope {
            form.append_pair("scope", scope);
        }
        let encoded = |text: &str| match self.config.encode_credentials {
            true => form_urlencoded::byte_serialize(text.as_bytes()).collect(),
            false => text.to_owned(),
        };
        let credentials = STANDARD.encode(format!("{}:{}", encoded(&self.config.client_id), encoded(secret)));
        let unsayable = |_| self.unavailable(&"the request cannot be written");
        let mut authorization = HeaderValue::try_from(format!("Basic {credentials}")).map_err(|_| unsayable(()))?;
        authorization.set_sensitive(true);
        Request::post(self.endpoint.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, self.endpoint.authority().map_or("", |authority| authority.as_str()))
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, FORM)
            .header(ACCEPT, JSON)
            .header(CONNECTION, CLOSE)
            .body(Full::from(form.finish()))
            .map_err(|_| unsayable(()))
    }

    async fn post(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), NoToken> {
        let mut http = Http::open(&self.dial, &self.address).await.map_err(|error| self.unavailable(&error))?;
        let answer = http.ask(request, ANSWER_BYTES_MAX).await.map_err(|error| self.unavailable(&error))?;
        Ok((answer.status, answer.body.map_err(|error| self.unavailable(&error))?))
    }

    fn understood(&self, status: StatusCode, body: &[u8]) -> Result<(Token, Option<Duration>), NoToken> {
        let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
        if !status.is_success() {
            let why = match [answer.error, answer.error_description].into_iter().flatten().collect::<Vec<_>>() {
                none if none.is_empty() => status.to_string(),
                words => format!("{status}: {}", words.join(": ")),
            };
            // RFC 6749, section 5.2: what is wrong with the request stays wrong.
            let lasting = matches!(status.as_u16(), 400 | 401 | 403 | 404 | 405);
            let words = self.words(&why);
            return Err(if lasting { NoToken::Refused(words) } else { NoToken::Unavailable(words) });
        }
        let value = answer.access_token.filter(|token| !token.is_empty());
        let value = value.ok_or_else(|| self.unavailable(&"the answer has no access_token in it"))?;
        let lasts = answer.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok((Token { value: value.into(), extensions: self.config.extensions.clone() }, lasts))
    }

    fn words(&self, why: &dyn fmt::Display) -> std::sync::Arc<str> {
        format!("token endpoint {}: {why}", self.config.token_endpoint).into()
    }

    fn unavailable(&self, why: &dyn fmt::Display) -> NoToken {
        NoToken::Unavailable(self.words(why))
    }
}

/// What a provider says, of either kind.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Answer {
    access_token: Option<String>,
    expires_in: Option<f64>,
    error: Option<String>,
    error_description: Option<String>,
}

/// The endpoint, and where to dial for it.
fn parsed(endpoint: &str) -> Result<(Uri, Address), Error> {
    if endpoint.contains('@') {
        // Not shown: what stands before it may be a password.
        return Err(Error::config("the token endpoint has an @ in it; credentials do not belong there"));
    }
    let wrong = |why: &str| Error::config(format!("token endpoint {endpoint}: {why}"));
    let uri: Uri = endpoint.parse().map_err(|_| wrong("it is not a URL"))?;
    let host = uri.host().ok_or_else(|| wrong("it has no host"))?.trim_start_matches('[').trim_end_matches(']');
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|number| number.is_loopback());
    let port = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") if here => 80,
        Some("http") => return Err(wrong("the secret would cross the network in plain text; use https")),
        _ => return Err(wrong("it must begin with https://")),
    };
    let address = Address::new(host, uri.port_u16().unwrap_or(port));
    Ok((uri, address))
}

#[async_trait]
impl TokenSource for Oidc {
    async fn token(&self) -> Result<Token, NoToken> {
        let mut held = self.held.lock().await;
        let now = Instant::now();
        if let Some(fresh) = held.as_ref().filter(|it| now < it.renew_at) {
            return Ok(fresh.token.clone());
        }
        match (self.ask().await, held.as_ref().filter(|it| now < it.ends)) {
            (Ok((token, lasts)), _) => {
                *held = lasts.map(|lasts| Held {
                    token: token.clone(),
                    renew_at: now + lasts.mul_f64(0.8).min(LONGEST),
                    ends: now + lasts.min(LONGEST),
                });
                Ok(token)
            }
            (Err(NoToken::Unavailable(why)), Some(old)) => {
                tracing::warn!(%why, "the token cannot be renewed yet; the old one is used to its end");
                Ok(old.token.clone())
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Longer lives are not believed.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex as StdMutex;

    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::net::{Attempt, Io};

    /// Says what it is told to, one answer after the other, and keeps what it heard.
    #[derive(Default)]
    struct Provider {
        answers: StdMutex<Vec<String>>,
        heard: StdMutex<Vec<String>>,
    }

    impl Provider {
        fn say(&self, status: &str, headers: &str, body: &str) {
            let answer = format!("HTTP/1.1 {status}\r\n{headers}\r\n{body}");
            self.answers.lock().unwrap().insert(0, answer);
        }

        fn says_token(&self, token: &str, seconds: u64) {
            let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{seconds}}}"#);
            self.say("200 OK", &format!("content-length: {}\r\n", body.len()), &body);
        }

        fn dial(self: &Arc<Self>) -> Dial {
            let provider = Arc::clone(self);
            Arc::new(move |address: Address| {
                let provider = Arc::clone(&provider);
                async move {
                    let Some(answer) = provider.answers.lock().unwrap().pop() else {
                        return Err(vec![Attempt::new(address, "refused")]);
                    };
                    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
                    tokio::spawn(async move {
                        let mut heard = vec![0; 4096];
                        let n = theirs.read(&mut heard).await.unwrap();
                        provider.heard.lock().unwrap().push(String::from_utf8_lossy(&heard[..n]).into_owned());
                        theirs.write_all(answer.as_bytes()).await.unwrap();
                    });
                    Ok(Box::new(ours) as Box<dyn Io>)
                }
                .boxed()
            })
        }
    }

    fn config(endpoint: &str) -> OidcConfig {
        let provider = crate::tls::provider().unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions();
        let tls = tls.unwrap().with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
        OidcConfig::new(endpoint, "id", Password::Given("hunter2".into()), Arc::new(tls).into())
    }

    fn oidc(provider: &Arc<Provider>) -> Oidc {
        let config = OidcConfig { scope: Some("a b".to_owned()), ..config("https://idp.example/oauth2/token?x=1") };
        Oidc::over(config, provider.dial()).unwrap()
    }

    async fn token(oidc: &Oidc) -> Result<String, NoToken> {
        oidc.token().await.map(|token| token.value.reveal().to_owned())
    }

    #[tokio::test]
    async fn the_question_is_lawful() {
        let provider = Arc::new(Provider::default());
        provider.says_token("t", 60);
        assert_eq!(token(&oidc(&provider)).await.as_deref(), Ok("t"));
        let heard = provider.heard.lock().unwrap().concat();
        assert!(heard.starts_with("POST /oauth2/token?x=1 HTTP/1.1\r\n"), "{heard}");
        for line in ["host: idp.example\r\n", "authorization: Basic aWQ6aHVudGVyMg==\r\n", "connection: close\r\n"] {
            assert!(heard.contains(line), "{heard}");
        }
        assert!(heard.ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b"), "{heard}");
    }

    #[tokio::test]
    async fn a_body_may_come_in_chunks_or_end_with_the_connection() {
        let provider = Arc::new(Provider::default());
        provider.say("200 OK", "transfer-encoding: chunked\r\n", "14\r\n{\"access_token\":\"t\"}\r\n0\r\n\r\n");
        provider.say("200 OK", "", r#"{"access_token":"u"}"#);
        let oidc = oidc(&provider);
        // Without a lifetime nothing is kept.
        assert_eq!(token(&oidc).await.as_deref(), Ok("t"));
        assert_eq!(token(&oidc).await.as_deref(), Ok("u"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_kept_for_most_of_its_life_and_used_to_its_end_in_need() {
        let provider = Arc::new(Provider::default());
        let oidc = oidc(&provider);
        provider.says_token("one", 100);
        let pass = |seconds| tokio::time::advance(Duration::from_secs(seconds));
        assert_eq!(token(&oidc).await.as_deref(), Ok("one"));
        pass(79).await;
        assert_eq!(token(&oidc).await.as_deref(), Ok("one"));
        provider.says_token("two", 100);
        pass(1).await;
        assert_eq!(token(&oidc).await.as_deref(), Ok("two"));
        pass(99).await;
        assert_eq!(token(&oidc).await.as_deref(), Ok("two"));
        pass(1).await;
        assert!(matches!(token(&oidc).await, Err(NoToken::Unavailable(_))));
        assert_eq!(provider.heard.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn what_is_no_token_says_why() {
        let check = async |status: &str, body: &str, refused: bool, want: &str| {
            let provider = Arc::new(Provider::default());
            provider.say(status, "", body);
            let error = token(&oidc(&provider)).await.unwrap_err();
            let said = error.to_string();
            assert_eq!(matches!(error, NoToken::Refused(_)), refused, "{said}");
            assert!(said.starts_with("token endpoint https://idp.example/oauth2/token?x=1: "), "{said}");
            assert!(said.contains(want) && !said.contains("hunter2"), "{said}");
        };
        let body = r#"{"error":"invalid_client","error_description":"no such client"}"#;
        check("401 Unauthorized", body, true, "401 Unauthorized: invalid_client: no such client").await;
        check("400 Bad Request", "<html>", true, "400 Bad Request").await;
        check("503 Service Unavailable", "", false, "503 Service Unavailable").await;
        check("302 Found", "", false, "302 Found").await;
        check("200 OK", r#"{"access_token":""}"#, false, "no access_token").await;
        check("200 OK", "no json", false, "no access_token").await;
        check("nonsense", "", false, "token endpoint").await;
        check("200 OK", &"x".repeat(2 << 20), false, "length limit exceeded").await;
    }

    #[test]
    fn endpoints() {
        let check = |endpoint: &str, want: Result<&str, &str>| {
            let got = Oidc::new(config(endpoint)).map(|oidc| oidc.address.to_string());
            let got = got.map_err(|error| error.to_string());
            match want {
                Ok(address) => assert_eq!(got.as_deref(), Ok(address)),
                Err(part) => assert!(got.as_ref().is_err_and(|error| error.contains(part)), "{endpoint}: {got:?}"),
            }
            assert!(!got.is_err_and(|error| error.contains("secret@")));
        };
        check("https://idp.example/token", Ok("idp.example:443"));
        check("https://idp.example:8443/token", Ok("idp.example:8443"));
        check("https://[::1]/token", Ok("[::1]:443"));
        check("http://localhost:8080/token", Ok("localhost:8080"));
        check("http://127.0.0.1/token", Ok("127.0.0.1:80"));
        check("http://idp.example/token", Err("use https"));
        check("https://id:secret@idp.example/token", Err("credentials do not belong there"));
        check("ftp://idp.example", Err("must begin with https://"));
        check("/token", Err("no host"));
        check("https://a b", Err("not a URL"));
    }

    #[test]
    fn nothing_of_it_shows_the_secret() {
        assert!(!format!("{:?}", Oidc::new(config("https://a/b"))).contains("hunter2"));
    }
}
