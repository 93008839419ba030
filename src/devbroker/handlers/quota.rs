//! The answer to a client that is over its quota (KIP-219). Used by [`Fault::Throttle`](crate::devbroker::Fault::Throttle).

use std::time::Duration;

use crate::protocol::api::Response;

macro_rules! throttle {
    ($response:expr, $quiet:expr, $($api:ident)*) => {
        match $response {
            $( Response::$api(body) => body.throttle_time_ms = $quiet, )*
            _ => {}
        }
    };
}

/// Says for how long the client shall be quiet, where the response of an API has room for that.
pub fn throttle(response: &mut Response, quiet: Duration) {
    let milliseconds = i32::try_from(quiet.as_millis()).unwrap_or(i32::MAX);
    throttle!(
        response,
        milliseconds,
        Produce Fetch ListOffsets Metadata OffsetCommit OffsetFetch FindCoordinator JoinGroup Heartbeat LeaveGroup
        SyncGroup DescribeGroups ListGroups ApiVersions CreateTopics DeleteTopics DeleteRecords InitProducerId
        OffsetForLeaderEpoch AddPartitionsToTxn AddOffsetsToTxn EndTxn TxnOffsetCommit DescribeConfigs AlterConfigs
        DescribeLogDirs CreatePartitions DeleteGroups OffsetDelete DescribeCluster DescribeProducers
        DescribeTransactions ListTransactions DescribeTopicPartitions
    );
}
