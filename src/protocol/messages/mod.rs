//! What crosses the wire: one file an API, holding its request, its response and their structs, in Kafka's own names
//! (made unique where two APIs share one) and in the versions of Kafka 4.4, which begin where Kafka 4.0 begins
//! (KIP-896).
//!
//! A file's head says what its API is for and what each version brought. Three kinds of version are the same
//! everywhere and are named there by their KIP alone: KIP-219, from which a broker answers first and mutes the
//! connection afterwards when a quota is exceeded, so that `throttle_time_ms` is for the client to honour; KIP-482,
//! the flexible encoding; and versions that only allow another error code.
//!
//! The wire's sentinels (-1, an empty text, a zero id) are kept as they are here; the room above turns them into
//! `Option`.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_share_group_offsets;
mod alter_user_scram_credentials;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_acls;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_groups;
mod delete_records;
mod delete_share_group_offsets;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_share_group_offsets;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
mod elect_leaders;
mod end_txn;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leader;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod sasl_authenticate;
mod sasl_handshake;
mod share_group_describe;
mod share_group_heartbeat;
mod streams_group_describe;
mod streams_group_heartbeat;
mod sync_group;
mod txn_offset_commit;
mod write_txn_markers;

pub use add_offsets_to_txn::*;
pub use add_partitions_to_txn::*;
pub use alter_configs::*;
pub use alter_partition_reassignments::*;
pub use alter_share_group_offsets::*;
pub use alter_user_scram_credentials::*;
pub use api_versions::*;
pub use consumer_group_describe::*;
pub use consumer_group_heartbeat::*;
pub use create_acls::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_acls::*;
pub use delete_groups::*;
pub use delete_records::*;
pub use delete_share_group_offsets::*;
pub use delete_topics::*;
pub use describe_acls::*;
pub use describe_client_quotas::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_groups::*;
pub use describe_log_dirs::*;
pub use describe_producers::*;
pub use describe_share_group_offsets::*;
pub use describe_topic_partitions::*;
pub use describe_transactions::*;
pub use describe_user_scram_credentials::*;
pub use elect_leaders::*;
pub use end_txn::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use heartbeat::*;
pub use incremental_alter_configs::*;
pub use init_producer_id::*;
pub use join_group::*;
pub use leader::*;
pub use leave_group::*;
pub use list_config_resources::*;
pub use list_groups::*;
pub use list_offsets::*;
pub use list_partition_reassignments::*;
pub use list_transactions::*;
pub use metadata::*;
pub use offset_commit::*;
pub use offset_delete::*;
pub use offset_fetch::*;
pub use offset_for_leader_epoch::*;
pub use produce::*;
pub use sasl_authenticate::*;
pub use sasl_handshake::*;
pub use share_group_describe::*;
pub use share_group_heartbeat::*;
pub use streams_group_describe::*;
pub use streams_group_heartbeat::*;
pub use sync_group::*;
pub use txn_offset_commit::*;
pub use write_txn_markers::*;
