//! The cluster itself.

use super::Admin;
use crate::client::cluster::Topics;
use crate::client::error::Error;
use crate::client::metadata::Broker;
use crate::protocol::types::BrokerId;

/// A cluster and its brokers, in order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDescription {
    pub cluster_id: Option<String>,
    /// Under KRaft any broker, which passes requests on.
    pub controller: Option<BrokerId>,
    pub brokers: Vec<Broker>,
}

impl Admin {
    /// The cluster as a broker sees it now.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, Error> {
        let known = self.cluster.refresh(Topics::Followed).await?;
        Ok(ClusterDescription {
            cluster_id: known.cluster_id.clone(),
            controller: known.controller,
            brokers: known.brokers.values().cloned().collect(),
        })
    }
}
