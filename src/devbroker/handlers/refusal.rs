//! The answer that says nothing but one error, everywhere the response of an API has room for it. Used by
//! [`Fault::Error`](crate::devbroker::Fault::Error).

use crate::protocol::api::{Request, Response};
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::*;
use crate::protocol::types::Str;

/// `None` for an API without room for an error, and for those that are not served.
pub fn refuse(request: &Request, version: i16, error: ErrorCode) -> Option<Response> {
    let code = i16::from(error);
    topics(request, code)
        .or_else(|| groups(request, version, code))
        .or_else(|| transactions(request, version, code))
        .or_else(|| cluster(request, code))
}

/// APIs whose errors are about partitions or topics.
fn topics(request: &Request, code: i16) -> Option<Response> {
    Some(match request {
        Request::Produce(it) => produce(it, code).into(),
        Request::Fetch(it) => fetch(it, code).into(),
        Request::ListOffsets(it) => list_offsets(it, code).into(),
        Request::Metadata(it) => metadata(it, code).into(),
        Request::OffsetForLeaderEpoch(it) => offset_for_leader_epoch(it, code).into(),
        Request::DeleteRecords(it) => delete_records(it, code).into(),
        Request::CreateTopics(it) => {
            let row = |it: &CreatableTopic| CreatableTopicResult {
                name: it.name.clone(),
                error_code: code,
                error_message: None,
                ..Default::default()
            };
            CreateTopicsResponse { topics: it.topics.iter().map(row).collect(), ..Default::default() }.into()
        }
        Request::DeleteTopics(it) => delete_topics(it, code).into(),
        Request::CreatePartitions(it) => {
            let row = |it: &CreatePartitionsTopic| CreatePartitionsTopicResult {
                name: it.name.clone(),
                error_code: code,
                error_message: None,
            };
            CreatePartitionsResponse { results: it.topics.iter().map(row).collect(), ..Default::default() }.into()
        }
        Request::DescribeTopicPartitions(it) => {
            let row = |it: &DescribeTopicPartitionsTopicRequest| DescribeTopicPartitionsResponseTopic {
                error_code: code,
                name: Some(it.name.clone()),
                ..Default::default()
            };
            DescribeTopicPartitionsResponse { topics: it.topics.iter().map(row).collect(), ..Default::default() }.into()
        }
        _ => return None,
    })
}

fn produce(request: &ProduceRequest, code: i16) -> ProduceResponse {
    let row = |it: &PartitionProduceData| PartitionProduceResponse {
        index: it.index,
        error_code: code,
        base_offset: -1,
        ..Default::default()
    };
    let topic = |it: &TopicProduceData| TopicProduceResponse {
        name: it.name.clone(),
        topic_id: it.topic_id,
        partition_responses: it.partition_data.iter().map(row).collect(),
    };
    ProduceResponse { responses: request.topic_data.iter().map(topic).collect(), ..Default::default() }
}

/// A fetch that names nothing (an incremental one) can only be refused as a whole.
fn fetch(request: &FetchRequest, code: i16) -> FetchResponse {
    let row = |it: &FetchPartition| PartitionData {
        partition_index: it.partition,
        error_code: code,
        high_watermark: -1,
        ..Default::default()
    };
    let topic = |it: &FetchTopic| FetchableTopicResponse {
        topic: it.topic.clone(),
        topic_id: it.topic_id,
        partitions: it.partitions.iter().map(row).collect(),
    };
    let whole = request.topics.is_empty();
    FetchResponse {
        error_code: if whole { code } else { 0 },
        responses: request.topics.iter().map(topic).collect(),
        ..Default::default()
    }
}

fn list_offsets(request: &ListOffsetsRequest, code: i16) -> ListOffsetsResponse {
    let row = |it: &ListOffsetsPartition| ListOffsetsPartitionResponse {
        partition_index: it.partition_index,
        error_code: code,
        ..Default::default()
    };
    let topic = |it: &ListOffsetsTopic| ListOffsetsTopicResponse {
        name: it.name.clone(),
        partitions: it.partitions.iter().map(row).collect(),
    };
    ListOffsetsResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
}

fn metadata(request: &MetadataRequest, code: i16) -> MetadataResponse {
    let topic = |it: &MetadataRequestTopic| MetadataResponseTopic {
        error_code: code,
        name: Some(it.name.clone().unwrap_or_default()),
        topic_id: it.topic_id,
        ..Default::default()
    };
    MetadataResponse {
        topics: request.topics.iter().flatten().map(topic).collect(),
        error_code: code,
        ..Default::default()
    }
}

fn offset_for_leader_epoch(request: &OffsetForLeaderEpochRequest, code: i16) -> OffsetForLeaderEpochResponse {
    let row = |it: &OffsetForLeaderPartition| OffsetForLeaderEndOffset {
        error_code: code,
        partition: it.partition,
        ..Default::default()
    };
    let topic = |it: &OffsetForLeaderTopic| OffsetForLeaderTopicResult {
        topic: it.topic.clone(),
        partitions: it.partitions.iter().map(row).collect(),
    };
    OffsetForLeaderEpochResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
}

fn delete_records(request: &DeleteRecordsRequest, code: i16) -> DeleteRecordsResponse {
    let row = |it: &DeleteRecordsPartition| DeleteRecordsPartitionResult {
        partition_index: it.partition_index,
        low_watermark: -1,
        error_code: code,
    };
    let topic = |it: &DeleteRecordsTopic| DeleteRecordsTopicResult {
        name: it.name.clone(),
        partitions: it.partitions.iter().map(row).collect(),
    };
    DeleteRecordsResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
}

fn delete_topics(request: &DeleteTopicsRequest, code: i16) -> DeleteTopicsResponse {
    let row =
        |name: Option<Str>, topic_id| DeletableTopicResult { name, topic_id, error_code: code, error_message: None };
    let named = request.topic_names.iter().map(|name| row(Some(name.clone()), Default::default()));
    let either = request.topics.iter().map(|it| row(it.name.clone(), it.topic_id));
    DeleteTopicsResponse { responses: named.chain(either).collect(), ..Default::default() }
}

/// APIs whose errors are about groups.
fn groups(request: &Request, version: i16, code: i16) -> Option<Response> {
    Some(match request {
        Request::FindCoordinator(it) => find_coordinator(it, version, code).into(),
        Request::JoinGroup(it) => JoinGroupResponse {
            error_code: code,
            protocol_name: (version < 7).then(Str::default),
            member_id: it.member_id.clone(),
            ..Default::default()
        }
        .into(),
        Request::SyncGroup(_) => SyncGroupResponse { error_code: code, ..Default::default() }.into(),
        Request::Heartbeat(_) => HeartbeatResponse { error_code: code, ..Default::default() }.into(),
        Request::LeaveGroup(_) => LeaveGroupResponse { error_code: code, ..Default::default() }.into(),
        Request::OffsetCommit(it) => offset_commit(it, code).into(),
        Request::OffsetFetch(it) => offset_fetch(it, version, code).into(),
        Request::ListGroups(_) => ListGroupsResponse { error_code: code, ..Default::default() }.into(),
        Request::DescribeGroups(it) => {
            let row = |id: &Str| DescribedGroup { error_code: code, group_id: id.clone(), ..Default::default() };
            DescribeGroupsResponse { groups: it.groups.iter().map(row).collect(), ..Default::default() }.into()
        }
        Request::DeleteGroups(it) => {
            let row = |id: &Str| DeletableGroupResult { group_id: id.clone(), error_code: code, ..Default::default() };
            DeleteGroupsResponse { results: it.groups_names.iter().map(row).collect(), ..Default::default() }.into()
        }
        Request::ConsumerGroupHeartbeat(_) => {
            ConsumerGroupHeartbeatResponse { error_code: code, ..Default::default() }.into()
        }
        Request::ConsumerGroupDescribe(it) => {
            let row =
                |id: &Str| DescribedConsumerGroup { error_code: code, group_id: id.clone(), ..Default::default() };
            ConsumerGroupDescribeResponse { groups: it.group_ids.iter().map(row).collect(), ..Default::default() }
                .into()
        }
        Request::OffsetDelete(_) => OffsetDeleteResponse { error_code: code, ..Default::default() }.into(),
        _ => return None,
    })
}

fn find_coordinator(request: &FindCoordinatorRequest, version: i16, code: i16) -> FindCoordinatorResponse {
    if version < 4 {
        return FindCoordinatorResponse { error_code: code, node_id: -1, port: -1, ..Default::default() };
    }
    let row =
        |key: &Str| Coordinator { key: key.clone(), node_id: -1, port: -1, error_code: code, ..Default::default() };
    FindCoordinatorResponse { coordinators: request.coordinator_keys.iter().map(row).collect(), ..Default::default() }
}

fn offset_commit(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let row = |it: &OffsetCommitRequestPartition| OffsetCommitResponsePartition {
        partition_index: it.partition_index,
        error_code: code,
    };
    let topic = |it: &OffsetCommitRequestTopic| OffsetCommitResponseTopic {
        name: it.name.clone(),
        topic_id: it.topic_id,
        partitions: it.partitions.iter().map(row).collect(),
    };
    OffsetCommitResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
}

fn offset_fetch(request: &OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    if version < 8 {
        return OffsetFetchResponse { error_code: code, ..Default::default() };
    }
    let row = |it: &OffsetFetchRequestGroup| OffsetFetchResponseGroup {
        group_id: it.group_id.clone(),
        error_code: code,
        ..Default::default()
    };
    OffsetFetchResponse { groups: request.groups.iter().map(row).collect(), ..Default::default() }
}

/// APIs whose errors are about transactions.
fn transactions(request: &Request, version: i16, code: i16) -> Option<Response> {
    Some(match request {
        Request::AddPartitionsToTxn(it) => add_partitions(it, version, code).into(),
        Request::AddOffsetsToTxn(_) => AddOffsetsToTxnResponse { error_code: code, ..Default::default() }.into(),
        Request::EndTxn(_) => EndTxnResponse { error_code: code, ..Default::default() }.into(),
        Request::TxnOffsetCommit(it) => txn_offset_commit(it, code).into(),
        Request::WriteTxnMarkers(it) => write_txn_markers(it, code).into(),
        Request::ListTransactions(_) => ListTransactionsResponse { error_code: code, ..Default::default() }.into(),
        Request::DescribeTransactions(it) => {
            let row = |id: &Str| DescribeTransactionsState {
                error_code: code,
                transactional_id: id.clone(),
                ..Default::default()
            };
            let transaction_states = it.transactional_ids.iter().map(row).collect();
            DescribeTransactionsResponse { transaction_states, ..Default::default() }.into()
        }
        _ => return None,
    })
}

/// From version 4 on the whole request is refused.
fn add_partitions(request: &AddPartitionsToTxnRequest, version: i16, code: i16) -> AddPartitionsToTxnResponse {
    if version >= 4 {
        return AddPartitionsToTxnResponse { error_code: code, ..Default::default() };
    }
    let row = |it: &i32| AddPartitionsToTxnPartitionResult { partition_index: *it, partition_error_code: code };
    let topic = |it: &AddPartitionsToTxnTopic| AddPartitionsToTxnTopicResult {
        name: it.name.clone(),
        results_by_partition: it.partitions.iter().map(row).collect(),
    };
    let results_by_topic_v3_and_below = request.v3_and_below_topics.iter().map(topic).collect();
    AddPartitionsToTxnResponse { results_by_topic_v3_and_below, ..Default::default() }
}

fn write_txn_markers(request: &WriteTxnMarkersRequest, error_code: i16) -> WriteTxnMarkersResponse {
    let row = |it: &i32| WritableTxnMarkerPartitionResult { partition_index: *it, error_code };
    let topic = |it: &WritableTxnMarkerTopic| WritableTxnMarkerTopicResult {
        name: it.name.clone(),
        partitions: it.partition_indexes.iter().map(row).collect(),
    };
    let marker = |it: &WritableTxnMarker| WritableTxnMarkerResult {
        producer_id: it.producer_id,
        topics: it.topics.iter().map(topic).collect(),
    };
    WriteTxnMarkersResponse { markers: request.markers.iter().map(marker).collect() }
}

fn txn_offset_commit(request: &TxnOffsetCommitRequest, code: i16) -> TxnOffsetCommitResponse {
    let row = |it: &TxnOffsetCommitRequestPartition| TxnOffsetCommitResponsePartition {
        partition_index: it.partition_index,
        error_code: code,
    };
    let topic = |it: &TxnOffsetCommitRequestTopic| TxnOffsetCommitResponseTopic {
        name: it.name.clone(),
        topic_id: it.topic_id,
        partitions: it.partitions.iter().map(row).collect(),
    };
    TxnOffsetCommitResponse { topics: request.topics.iter().map(topic).collect(), ..Default::default() }
}

/// APIs whose errors are about the whole request, or about configs.
fn cluster(request: &Request, code: i16) -> Option<Response> {
    Some(match request {
        Request::ApiVersions(_) => ApiVersionsResponse { error_code: code, ..Default::default() }.into(),
        Request::SaslHandshake(_) => SaslHandshakeResponse { error_code: code, ..Default::default() }.into(),
        Request::SaslAuthenticate(_) => SaslAuthenticateResponse { error_code: code, ..Default::default() }.into(),
        Request::InitProducerId(_) => {
            InitProducerIdResponse { error_code: code, producer_epoch: -1, ..Default::default() }.into()
        }
        Request::DescribeCluster(_) => DescribeClusterResponse { error_code: code, ..Default::default() }.into(),
        Request::DescribeLogDirs(_) => DescribeLogDirsResponse { error_code: code, ..Default::default() }.into(),
        Request::DescribeConfigs(it) => {
            let row = |it: &DescribeConfigsResource| DescribeConfigsResult {
                error_code: code,
                error_message: None,
                resource_type: it.resource_type,
                resource_name: it.resource_name.clone(),
                configs: Vec::new(),
            };
            DescribeConfigsResponse { results: it.resources.iter().map(row).collect(), ..Default::default() }.into()
        }
        Request::IncrementalAlterConfigs(it) => {
            let row = |it: &IncrementalAlterConfigsResource| IncrementalAlterConfigsResourceResponse {
                error_code: code,
                error_message: None,
                resource_type: it.resource_type,
                resource_name: it.resource_name.clone(),
            };
            let responses = it.resources.iter().map(row).collect();
            IncrementalAlterConfigsResponse { responses, ..Default::default() }.into()
        }
        _ => return None,
    })
}
