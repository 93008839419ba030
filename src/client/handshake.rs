//! The first words on a connection: what does this broker speak (KIP-35, KIP-511), and which features has the cluster
//! settled on (KIP-584)?
//!
//! The answer becomes [`Capabilities`], with caps applied once, here, so that nobody above needs to know of them.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rskafka::messenger::Messenger;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::Error;
use crate::protocol::api::{Api, Body, Request, Response, api, offered};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, EndTxnRequest, OffsetFetchRequest, ProduceRequest, TxnOffsetCommitRequest,
};

/// What a broker offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    versions: HashMap<i16, RangeInclusive<i16>>,
    /// The level that the cluster has settled on, by name: `transaction.version`, `group.version`, ...
    pub features: HashMap<String, i16>,
}

impl Capabilities {
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
        // Later versions mean the second transaction protocol (KIP-890), which the cluster has to have switched on.
        if known.features.get("transaction.version").is_none_or(|level| *level < 2) {
            known.cap(ProduceRequest::KEY, 11);
            known.cap(TxnOffsetCommitRequest::KEY, 4);
            known.cap(EndTxnRequest::KEY, 4);
        }
        // Later versions name topics by their ids alone: of topics that are gone, nobody could say what was committed.
        known.cap(OffsetFetchRequest::KEY, 9);
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
        other => Err(Error::config(format!("asked for ApiVersions, answered {}", other.name()))),
    }
}
