//! DescribeCluster (API 60, KIP-700).

use super::{Call, broker_operations};
use crate::devbroker::reply::Answer;
use crate::devbroker::state::{Broker, State};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};

/// `endpoint_type` of brokers, as against controllers (KIP-919).
const BROKERS: i8 = 1;

pub fn serve(state: &mut State, call: &Call, request: &DescribeClusterRequest) -> Answer {
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::MISMATCHED_ENDPOINT_TYPE.into(),
            error_message: Some("The request was sent to an endpoint of type BROKER.".into()),
            endpoint_type: request.endpoint_type,
            ..DescribeClusterResponse::default()
        }
        .into();
    }
    let row = |broker: &Broker| DescribeClusterBroker {
        broker_id: broker.id,
        host: broker.host_for(call),
        port: i32::from(broker.port),
        rack: broker.rack.clone(),
        ..DescribeClusterBroker::default()
    };
    let asks_operations = request.include_cluster_authorized_operations;
    DescribeClusterResponse {
        cluster_id: state.cluster_id.clone(),
        controller_id: state.controller(),
        brokers: state.brokers.iter().map(row).collect(),
        cluster_authorized_operations: if asks_operations { broker_operations() } else { i32::MIN },
        ..DescribeClusterResponse::default()
    }
    .into()
}
