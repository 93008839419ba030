//! The first words on a connection: what does this broker speak (KIP-35, KIP-511), and which features has the cluster
//! settled on (KIP-584)?
//!
//! The answer becomes [`Capabilities`], with caps applied once, here, so that nobody above needs to know of them. Then, where
//! the listener asks for it, who we are: [`authenticate`].

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rskafka::messenger::Messenger;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::{Error, ErrorKind};
use super::sasl::exchange::{Credentials, Exchange, Step};
use super::sasl::{Mechanism, NoToken, Refusal, RefusalReason, Sasl};
use crate::protocol::api::{Api, Body, Request, Response, api, offered};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, EndTxnRequest, OffsetCommitRequest, OffsetFetchRequest, ProduceRequest,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
    TxnOffsetCommitRequest,
};
use crate::protocol::sasl::SaslError;

/// What a broker offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    versions: HashMap<i16, RangeInclusive<i16>>,
    /// The level that the cluster has settled on, by name: `transaction.version`, `group.version`, ...
    pub features: HashMap<String, i16>,
}

impl Capabilities {
    /// Whether the cluster has switched on the second transaction protocol (KIP-890).
    pub fn has_transactions_v2(&self) -> bool {
        self.features.get("transaction.version").is_some_and(|level| *level >= 2)
    }

    /// The version in which a request is spoken with this broker; `None` if there is none.
    pub fn version<R: Api>(&self) -> Option<i16> {
        R::spoken(self.versions.get(&R::KEY)?)
    }

    /// The same, for an API that is known by its number only.
    pub fn version_of(&self, key: i16) -> Option<i16> {
        let (ours, theirs) = (&api(key)?.client_versions, self.versions.get(&key)?);
        let highest = *ours.end().min(theirs.end());
        (highest >= *ours.start().max(theirs.start())).then_some(highest)
    }

    /// Ranges that end before they start say nothing.
    fn from_answer(answer: &ApiVersionsResponse) -> Self {
        let said = answer.api_keys.iter().map(|it| (it.api_key, it.min_version..=it.max_version));
        let features = answer.finalized_features.iter().map(|it| (it.name.to_string(), it.max_version_level));
        let mut known =
            Self { versions: said.filter(|(_, range)| !range.is_empty()).collect(), features: features.collect() };
        // Later versions mean the second transaction protocol, which the cluster has to have switched on.
        if !known.has_transactions_v2() {
            known.cap(ProduceRequest::KEY, 11);
            known.cap(TxnOffsetCommitRequest::KEY, 4);
            known.cap(EndTxnRequest::KEY, 4);
        }
        // Later versions name topics by their ids alone: of topics that are gone, nobody could say what was committed, or that
        // it was not.
        known.cap(OffsetFetchRequest::KEY, 9);
        known.cap(OffsetCommitRequest::KEY, 9);
        known.cap(TxnOffsetCommitRequest::KEY, 5);
        known
    }

    fn cap(&mut self, key: i16, highest: i16) {
        if let Some(range) = self.versions.get_mut(&key)
            && *range.start() <= highest
        {
            *range = *range.start()..=highest.min(*range.end());
        }
    }
}

/// Learns what the broker offers, and has the messenger speak accordingly from then on.
pub async fn shake_hands<RW>(messenger: &mut Messenger<RW>) -> Result<Capabilities, Error>
where
    RW: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut answer = ask(messenger, *ApiVersionsRequest::VERSIONS.end()).await?;
    if ErrorCode(answer.error_code) == ErrorCode::UNSUPPORTED_VERSION {
        // The broker has said, in version 0, how far it goes itself.
        let listed = answer.api_keys.iter().find(|it| it.api_key == ApiVersionsRequest::KEY);
        answer = ask(messenger, listed.map_or(0, |it| it.max_version.max(0))).await?;
    }
    ErrorCode(answer.error_code).ok().map_err(|code| Error::from(code).of(ApiVersionsRequest::NAME))?;
    let known = Capabilities::from_answer(&answer);
    messenger.override_version_ranges(offered(known.versions.clone()));
    Ok(known)
}

async fn ask<RW>(messenger: &mut Messenger<RW>, highest: i16) -> Result<ApiVersionsResponse, Error>
where
    RW: AsyncRead + AsyncWrite + Send + 'static,
{
    messenger.override_version_ranges(offered([(ApiVersionsRequest::KEY, 0..=highest)]));
    let request = ApiVersionsRequest {
        client_software_name: env!("CARGO_PKG_NAME").into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
        ..Default::default()
    };
    let said = Request::from(request).send_over(messenger).await;
    match said.map_err(|e| Error::from(e).of(ApiVersionsRequest::NAME))?.body {
        Response::ApiVersions(answer) => Ok(answer),
        other => Err(mispaired(ApiVersionsRequest::NAME, &other)),
    }
}

/// Who we say we are, with what proves it.
#[derive(Debug)]
pub struct Proof {
    mechanism: Mechanism,
    user: Option<Arc<str>>,
    credentials: Credentials,
}

impl Proof {
    /// Fetches the credentials.
    pub async fn of(sasl: &Sasl) -> Result<Self, Error> {
        let mechanism = sasl.mechanism();
        match sasl.credentials().await {
            Ok((credentials, user)) => Ok(Self { mechanism, user, credentials }),
            Err(NoToken::Unavailable(why)) => Err(Error::new(ErrorKind::NoCredentials(why))),
            Err(NoToken::Refused(why)) => Err(refusal(mechanism, None, RefusalReason::NoCredentials(why))),
        }
    }
}

fn refusal(mechanism: Mechanism, user: Option<Arc<str>>, reason: RefusalReason) -> Error {
    Error::new(ErrorKind::Authentication(Arc::new(Refusal { mechanism, user, reason })))
}

/// Proves who we are; says for how long the broker believes it, if not for good (KIP-368). On a connection that is in use
/// nothing else may be sent until this is over.
pub async fn authenticate<RW>(
    messenger: &Messenger<RW>,
    known: &Capabilities,
    proof: Proof,
) -> Result<Option<Duration>, Error>
where
    RW: AsyncRead + AsyncWrite + Send + 'static,
{
    let Proof { mechanism, user, credentials } = proof;
    let refused = |reason| refusal(mechanism, user.clone(), reason);
    let against_law = |error: SaslError| refused(RefusalReason::Exchange(error));
    // In version 0 tokens would follow without frames of their own, and errors without words.
    if known.version::<SaslHandshakeRequest>() != Some(1) || known.version::<SaslAuthenticateRequest>().is_none() {
        return Err(refused(RefusalReason::TooOld));
    }
    choose(messenger, mechanism).await?.map_err(refused)?;
    let (mut message, mut exchange) =
        Exchange::begin(credentials, format!("{:032x}", rand::random::<u128>())).map_err(against_law)?;
    loop {
        let answer = present(messenger, message).await?;
        if let Err(code) = ErrorCode(answer.error_code).ok() {
            let words = answer.error_message.filter(|words| !words.is_empty()).map(|words| Arc::from(words.as_str()));
            return Err(refused(RefusalReason::Rejected(code, words)));
        }
        // SCRAM is slow by design: not on a thread that serves connections.
        let heard = tokio::task::spawn_blocking(move || exchange.hear(&answer.auth_bytes.0)).await;
        match heard.map_err(|gone| Error::disconnected(gone.to_string()))?.map_err(against_law)? {
            Step::Say(next, waiting) => (message, exchange) = (next, waiting),
            Step::Over => return Ok(lifetime(answer.session_lifetime_ms)),
        }
    }
}

/// Agrees on a mechanism, or says why there is none to agree on.
async fn choose<RW>(messenger: &Messenger<RW>, mechanism: Mechanism) -> Result<Result<(), RefusalReason>, Error>
where
    RW: AsyncRead + AsyncWrite + Send + 'static,
{
    let request = SaslHandshakeRequest { mechanism: mechanism.name().into() };
    let said = Request::from(request).send_over(messenger).await;
    let answer: SaslHandshakeResponse = match said.map_err(|e| Error::from(e).of(SaslHandshakeRequest::NAME))?.body {
        Response::SaslHandshake(answer) => answer,
        other => return Err(mispaired(SaslHandshakeRequest::NAME, &other)),
    };
    Ok(match ErrorCode(answer.error_code) {
        ErrorCode::NONE => Ok(()),
        ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
            let offered = answer.mechanisms.iter().map(ToString::to_string).collect();
            Err(RefusalReason::NotOffered { offered })
        }
        // What Kafka says on a listener without SASL.
        ErrorCode::ILLEGAL_SASL_STATE => Err(RefusalReason::NoSasl),
        code => Err(RefusalReason::Rejected(code, None)),
    })
}

async fn present<RW>(messenger: &Messenger<RW>, message: Vec<u8>) -> Result<SaslAuthenticateResponse, Error>
where
    RW: AsyncRead + AsyncWrite + Send + 'static,
{
    let said = Request::from(SaslAuthenticateRequest { auth_bytes: message.into() }).send_over(messenger).await;
    match said.map_err(|e| Error::from(e).of(SaslAuthenticateRequest::NAME))?.body {
        Response::SaslAuthenticate(answer) => Ok(answer),
        other => Err(mispaired(SaslAuthenticateRequest::NAME, &other)),
    }
}

fn lifetime(milliseconds: i64) -> Option<Duration> {
    u64::try_from(milliseconds).ok().filter(|it| *it > 0).map(Duration::from_millis)
}

/// When to prove it anew, after the proof: like Java, in the last part of the session, and not with everybody else.
/// `random` is between 0 and 1.
pub fn renewal(lifetime: Duration, random: f64) -> Duration {
    lifetime.mul_f64(0.85 + 0.1 * random.clamp(0.0, 1.0))
}

fn mispaired(asked: &str, answered: &Response) -> Error {
    Error::config(format!("asked for {asked}, answered {}", answered.name()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::messages::ApiVersion;

    #[test]
    fn topics_go_by_name_wherever_an_answer_must_be_understood_when_they_are_gone() {
        let named = [(OffsetCommitRequest::KEY, 9), (OffsetFetchRequest::KEY, 9), (TxnOffsetCommitRequest::KEY, 4)];
        let offer = |&(api_key, _): &(i16, i16)| ApiVersion { api_key, min_version: 2, max_version: 99 };
        let answer = ApiVersionsResponse { api_keys: named.iter().map(offer).collect(), ..Default::default() };
        let known = Capabilities::from_answer(&answer);
        for (key, highest) in named {
            assert_eq!(known.version_of(key), Some(highest), "API {key}");
        }
    }

    #[test]
    fn sessions_are_renewed_before_they_end() {
        let check = |milliseconds, random, want: Option<u64>| {
            let after = lifetime(milliseconds).map(|lifetime| renewal(lifetime, random).as_millis());
            assert_eq!(after, want.map(u128::from), "{milliseconds}");
        };
        check(0, 0.5, None);
        check(-1, 0.5, None);
        check(10_000, 0.0, Some(8_500));
        check(10_000, 1.0, Some(9_500));
        check(10_000, 9.0, Some(9_500));
    }
}
