//! Settings of topics, brokers and groups: what they are (DescribeConfigs), and changing single ones
//! (IncrementalAlterConfigs, KIP-339).

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
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResource, IncrementalAlterConfigsResourceResponse,
    IncrementalAlterConfigsResponse, IncrementalAlterableConfig,
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

/// What is to become of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigChange {
    Set(String),
    /// Back to what holds without it: the broker's default.
    Delete,
    /// To the end of a list.
    Append(String),
    /// Out of a list.
    Subtract(String),
}

impl ConfigChange {
    fn on_the_wire(&self, name: &str) -> IncrementalAlterableConfig {
        let (config_operation, value) = match self {
            Self::Set(value) => (0, Some(value)),
            Self::Delete => (1, None),
            Self::Append(value) => (2, Some(value)),
            Self::Subtract(value) => (3, Some(value)),
        };
        let value = value.map(|value| value.as_str().into());
        IncrementalAlterableConfig { name: name.into(), config_operation, value }
    }
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

/// Changes of settings by their names.
type Changes = Vec<(String, ConfigChange)>;
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
            match self.cluster.call(to, Lane::General, request, round.left()).await {
                Ok(answer) => said(answer.body.results, resources),
                Err(error) => all_failed(resources, &error),
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Changes settings and leaves the others of a resource as they are; of one resource all or none. Those of a broker
    /// are asked of that broker, all others in one request. From Kafka 2.3 on. `validate_only` changes nothing, and says
    /// whether it could be done.
    pub async fn alter_configs(
        &self,
        changes: &[(ConfigResource, Changes)],
        validate_only: bool,
    ) -> Result<Vec<(ConfigResource, Result<(), Error>)>, Error> {
        let wanted: HashMap<&ConfigResource, &Changes> = changes.iter().map(|(of, changes)| (of, changes)).collect();
        let wanted = &wanted;
        let resources = changes.iter().map(|(of, _)| of.clone()).collect();
        let altered = self.in_rounds(resources, passes_but_unknown, |open, round| async move {
            let asked = by(open.into_iter().map(|it| (it.asked_of(), it))).into_iter();
            let asked = asked.map(|(to, resources)| async move {
                let wanted = resources.iter().filter_map(|of| Some((of, *wanted.get(of)?)));
                let request = alteration(wanted, validate_only);
                match self.cluster.call(to, Lane::General, request, round.left()).await {
                    Ok(answer) => altered(answer.body, resources),
                    Err(error) => all_failed(resources, &error),
                }
            });
            join_all(asked).await.into_iter().flatten().collect()
        });
        Ok(altered.await)
    }
}

fn alteration<'a>(
    changes: impl Iterator<Item = (&'a ConfigResource, &'a Changes)>,
    validate_only: bool,
) -> IncrementalAlterConfigsRequest {
    let resource = |(of, changes): (&ConfigResource, &Changes)| IncrementalAlterConfigsResource {
        resource_type: of.kind(),
        resource_name: of.name().into(),
        configs: changes.iter().map(|(name, change)| change.on_the_wire(name)).collect(),
    };
    IncrementalAlterConfigsRequest { resources: changes.map(resource).collect(), validate_only }
}

fn altered(
    answer: IncrementalAlterConfigsResponse,
    resources: Vec<ConfigResource>,
) -> Vec<(ConfigResource, Result<(), Error>)> {
    let key = |it: &IncrementalAlterConfigsResourceResponse| (it.resource_type, it.resource_name.to_string());
    let verdicts: HashMap<_, _> = answer.responses.into_iter().map(|it| (key(&it), it)).collect();
    let outcome = |of: &ConfigResource| match verdicts.get(&(of.kind(), of.name())) {
        Some(it) => {
            let code = ErrorCode(it.error_code).ok();
            code.map_err(|code| Error::broker_says(code, it.error_message.as_deref()))
        }
        None => Err(unanswered(&of.name())),
    };
    let named = |error: Error| error.of(IncrementalAlterConfigsRequest::NAME);
    resources.into_iter().map(|of| (of.clone(), outcome(&of).map_err(named))).collect()
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
