//! Questions about a cluster, and changes to it.
use super::cluster::Cluster;

/// A handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Admin {
    cluster: Cluster,
}

impl Admin {
    pub(super) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }
}
