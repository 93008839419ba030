//! DescribeCluster (API 60): the nodes of a cluster and its id, without its topics (KIP-700).
//!
//! - 1: brokers or controllers (KIP-919)
//! - 2: brokers that are fenced as well, when asked for (KIP-1073)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeClusterRequest {
        include_cluster_authorized_operations: bool, 0..;
        /// 1: brokers; 2: controllers.
        endpoint_type: i8 = 1, 1..;
        include_fenced_brokers: bool, 2..;
    }
}

message! {
    pub struct DescribeClusterResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str>, 0..;
        endpoint_type: i8 = 1, 1..;
        cluster_id: Str, 0..;
        controller_id: i32 = -1, 0..;
        brokers: Vec<DescribeClusterBroker>, 0..;
        /// A bit for each operation that the asker may do; `i32::MIN` when it was not asked for.
        cluster_authorized_operations: i32 = i32::MIN, 0..;
    }
}

message! {
    pub struct DescribeClusterBroker {
        broker_id: i32, 0..;
        host: Str, 0..;
        port: i32, 0..;
        rack: Option<Str>, 0..;
        is_fenced: bool, 2..;
    }
}
