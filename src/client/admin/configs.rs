//! Settings of topics, brokers and groups (DescribeConfigs).

use std::collections::HashMap;

use futures::future::join_all;

use super::{Admin, Round, all_failed, by, passes_but_unknown, unanswered};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
};
use crate::protocol::types::{BrokerId, Topic};

/// Whose settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ConfigResource {
    Topic(Topic),
    /// Asked of that broker.
    Broker(BrokerId),
    /// From Kafka 4.0 on (KIP-848).
    Group(String),
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    pub name: String,
    /// `None` when it is sensitive, or has none.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub is_read_only: bool,
    pub is_sensitive: bool,
}

/// Where a value comes from (KIP-226).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    Broker,
    BrokerDefault,
    Static,
    Default,
    Group,
    /// One that we have no name for.
    Other(i8),
}

impl ConfigResource {
    fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => 2,
            Self::Broker(_) => 4,
            Self::Group(_) => 32,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Topic(topic) => topic.to_string(),
            Self::Broker(id) => id.to_string(),
            Self::Group(group) => group.clone(),
        }
    }

    fn asked_of(&self) -> To<'static> {
        match self {
            Self::Broker(id) => To::Broker(*id),
            Self::Topic(_) | Self::Group(_) => To::Any,
        }
    }
}

impl From<i8> for ConfigSource {
    fn from(number: i8) -> Self {
        match number {
            1 => Self::Topic,
            2 => Self::Broker,
            3 => Self::BrokerDefault,
            4 => Self::Static,
            5 => Self::Default,
            8 => Self::Group,
            other => Self::Other(other),
        }
    }
}

/// The settings of each resource, or the reason why not.
type Described = Vec<(ConfigResource, Result<Vec<ConfigEntry>, Error>)>;

impl Admin {
    /// The settings of resources. Those of a broker are asked of that broker, all others in one request.
    pub async fn describe_configs(&self, resources: &[ConfigResource]) -> Result<Described, Error> {
        Ok(self.in_rounds(resources.to_vec(), passes_but_unknown, |open, round| self.ask_configs(open, round)).await)
    }

    async fn ask_configs(&self, open: Vec<ConfigResource>, round: Round) -> Described {
        let asked = by(open.into_iter().map(|it| (it.asked_of(), it))).into_iter();
        let asked = asked.map(|(to, resources)| async move {
            let request =
                DescribeConfigsRequest { resources: resources.iter().map(resource).collect(), ..Default::default() };
            match self.cluster.call(to, Lane::General, request, round.left).await {
                Ok(answer) => said(answer.body.results, resources),
                Err(error) => all_failed(resources, &error),
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

fn resource(of: &ConfigResource) -> DescribeConfigsResource {
    DescribeConfigsResource { resource_type: of.kind(), resource_name: of.name().into(), configuration_keys: None }
}

fn said(results: Vec<DescribeConfigsResult>, resources: Vec<ConfigResource>) -> Described {
    let key = |it: &DescribeConfigsResult| (it.resource_type, it.resource_name.to_string());
    let mut results: HashMap<_, _> = results.into_iter().map(|it| (key(&it), it)).collect();
    let mut outcome = |of: &ConfigResource| {
        let Some(result) = results.remove(&(of.kind(), of.name())) else {
            return Err(unanswered(&of.name()).of(DescribeConfigsRequest::NAME));
        };
        let code = ErrorCode(result.error_code).ok();
        code.map_err(|code| {
            Error::broker_says(code, result.error_message.as_deref()).of(DescribeConfigsRequest::NAME)
        })?;
        Ok(result.configs.into_iter().map(entry).collect())
    };
    resources.into_iter().map(|of| (of.clone(), outcome(&of))).collect()
}

fn entry(it: DescribeConfigsResourceResult) -> ConfigEntry {
    ConfigEntry {
        name: it.name.to_string(),
        value: it.value.map(|value| value.to_string()),
        source: it.config_source.into(),
        is_read_only: it.read_only,
        is_sensitive: it.is_sensitive,
    }
}
