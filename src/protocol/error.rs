//! What a broker says went wrong, by number (`Errors.java`, Kafka 4.4), and what a client should do about it.

use std::fmt;

/// What to do about an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing is wrong.
    Ok,
    /// The same request to the same broker, a little later.
    Retry,
    /// What is known of the cluster is out of date: learn it anew, then ask whoever leads now.
    RefreshMetadata,
    /// The group or transaction is kept elsewhere: ask who keeps it.
    FindCoordinator,
    /// The group has moved on without this member: join again.
    Rejoin,
    /// Trying again cannot help.
    Fatal,
}

/// A broker's verdict. Numbers that are not in the table survive as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(pub i16);

macro_rules! codes {
    ($($number:literal $name:ident $class:ident $meaning:literal;)*) => {
        impl ErrorCode {
            pub const NONE: Self = Self(0);
            $( #[doc = $meaning] pub const $name: Self = Self($number); )*

            /// Every code of the table but `NONE`.
            pub const ALL: &'static [Self] = &[$( Self::$name, )*];

            /// The name as Kafka spells it; `None` for a number that is not in the table.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    0 => Some("NONE"),
                    $( $number => Some(stringify!($name)), )*
                    _ => None,
                }
            }

            /// What it means, in a few words that fit after a colon; `None` for a number that is not in the table.
            pub fn meaning(self) -> Option<&'static str> {
                match self.0 {
                    $( $number => Some($meaning), )*
                    _ => None,
                }
            }

            /// What to do about it. A number that is not in the table is fatal: what cannot be understood cannot be
            /// known to be safe to repeat.
            pub fn class(self) -> Class {
                match self.0 {
                    0 => Class::Ok,
                    $( $number => Class::$class, )*
                    _ => Class::Fatal,
                }
            }
        }
    };
}

codes! {
      -1 UNKNOWN_SERVER_ERROR Fatal "the broker failed in a way it has no code for; its log says more";
       1 OFFSET_OUT_OF_RANGE Fatal "the partition no longer has, or does not yet have, this offset";
       2 CORRUPT_MESSAGE Retry "the records were damaged on the way: CRC or size is wrong";
       3 UNKNOWN_TOPIC_OR_PARTITION RefreshMetadata "this broker has no such topic or partition, or has not heard of it yet";
       4 INVALID_FETCH_SIZE Fatal "a size asked for in a fetch is negative";
       5 LEADER_NOT_AVAILABLE RefreshMetadata "the partition has no leader at the moment";
       6 NOT_LEADER_OR_FOLLOWER RefreshMetadata "this broker does not lead the partition, or holds no replica of it";
       7 REQUEST_TIMED_OUT Retry "the broker did not get it done within the time that the request allowed";
       8 BROKER_NOT_AVAILABLE Fatal "a broker that is needed for the answer is down";
       9 REPLICA_NOT_AVAILABLE RefreshMetadata "this replica cannot serve at the moment";
      10 MESSAGE_TOO_LARGE Fatal "the batch is larger than the topic's max.message.bytes";
      11 STALE_CONTROLLER_EPOCH Fatal "the request comes from a controller that has been replaced";
      12 OFFSET_METADATA_TOO_LARGE Fatal "the text committed beside an offset is longer than offset.metadata.max.bytes";
      13 NETWORK_EXCEPTION RefreshMetadata "a connection broke before the answer came";
      14 COORDINATOR_LOAD_IN_PROGRESS Retry "the coordinator is still reading its log";
      15 COORDINATOR_NOT_AVAILABLE FindCoordinator "there is no coordinator at the moment, or its topic is not made yet";
      16 NOT_COORDINATOR FindCoordinator "another broker coordinates this group or transactional id";
      17 INVALID_TOPIC_EXCEPTION Fatal "the topic's name is not allowed, or the topic is internal";
      18 RECORD_LIST_TOO_LARGE Fatal "the batch is larger than a segment of the log";
      19 NOT_ENOUGH_REPLICAS Retry "fewer replicas are in sync than min.insync.replicas; nothing was written";
      20 NOT_ENOUGH_REPLICAS_AFTER_APPEND Retry "it was written, but to fewer replicas than min.insync.replicas";
      21 INVALID_REQUIRED_ACKS Fatal "acks is none of 0, 1 and -1";
      22 ILLEGAL_GENERATION Rejoin "the group has rebalanced since this member last joined";
      23 INCONSISTENT_GROUP_PROTOCOL Fatal "the member and its group have no assignor, or no protocol type, in common";
      24 INVALID_GROUP_ID Fatal "the group's name is empty or not allowed";
      25 UNKNOWN_MEMBER_ID Rejoin "the coordinator does not have this member, perhaps any more";
      26 INVALID_SESSION_TIMEOUT Fatal "the session timeout is outside what the broker allows";
      27 REBALANCE_IN_PROGRESS Rejoin "the group is rebalancing: its members must join again";
      28 INVALID_COMMIT_OFFSET_SIZE Fatal "what is committed is too large for the broker to store";
      29 TOPIC_AUTHORIZATION_FAILED Fatal "this principal may not do that with the topic";
      30 GROUP_AUTHORIZATION_FAILED Fatal "this principal may not do that with the group";
      31 CLUSTER_AUTHORIZATION_FAILED Fatal "this principal may not do that with the cluster";
      32 INVALID_TIMESTAMP Fatal "a record's time is too far from the broker's, or is not the producer's to set";
      33 UNSUPPORTED_SASL_MECHANISM Fatal "the listener does not offer this SASL mechanism";
      34 ILLEGAL_SASL_STATE Fatal "this request is not allowed at this point of authentication";
      35 UNSUPPORTED_VERSION Fatal "the broker does not speak this version of the API, or a field needs a newer one";
      36 TOPIC_ALREADY_EXISTS Fatal "there is a topic of this name";
      37 INVALID_PARTITIONS Fatal "the number of partitions is less than one, or not more than there are";
      38 INVALID_REPLICATION_FACTOR Fatal "the replication factor is less than one, or more than there are brokers";
      39 INVALID_REPLICA_ASSIGNMENT Fatal "the brokers given for the replicas are wrong";
      40 INVALID_CONFIG Fatal "a configuration has an unknown name or an impossible value";
      41 NOT_CONTROLLER RefreshMetadata "another broker is the controller";
      42 INVALID_REQUEST Fatal "the request contradicts itself, or the broker could not read it";
      43 UNSUPPORTED_FOR_MESSAGE_FORMAT Fatal "the topic's message format is too old for this";
      44 POLICY_VIOLATION Fatal "a policy that the operator installed forbids it";
      45 OUT_OF_ORDER_SEQUENCE_NUMBER Fatal "a batch is missing before this one of an idempotent producer";
      46 DUPLICATE_SEQUENCE_NUMBER Fatal "the broker has this batch already, and no longer knows at which offset";
      47 INVALID_PRODUCER_EPOCH Fatal "a newer life of this producer has written";
      48 INVALID_TXN_STATE Fatal "the transaction is not in a state in which this is allowed";
      49 INVALID_PRODUCER_ID_MAPPING Fatal "the transactional id belongs to another producer id, or has expired";
      50 INVALID_TRANSACTION_TIMEOUT Fatal "the transaction's timeout is longer than transaction.max.timeout.ms";
      51 CONCURRENT_TRANSACTIONS Retry "the transaction before this one is still being completed";
      52 TRANSACTION_COORDINATOR_FENCED Fatal "the marker comes from a coordinator that has been replaced";
      53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED Fatal "this principal may not use the transactional id";
      54 SECURITY_DISABLED Fatal "the cluster has no authorizer";
      55 OPERATION_NOT_ATTEMPTED Fatal "another part of the same request failed first";
      56 KAFKA_STORAGE_ERROR RefreshMetadata "the broker's disk failed; the partition moves elsewhere";
      57 LOG_DIR_NOT_FOUND Fatal "the broker has no such log directory";
      58 SASL_AUTHENTICATION_FAILED Fatal "the credentials are wrong";
      59 UNKNOWN_PRODUCER_ID Fatal "the broker has forgotten this producer, perhaps with its last records";
      60 REASSIGNMENT_IN_PROGRESS Fatal "the partition's replicas are being moved";
      61 DELEGATION_TOKEN_AUTH_DISABLED Fatal "the cluster has delegation tokens switched off";
      62 DELEGATION_TOKEN_NOT_FOUND Fatal "there is no such delegation token";
      63 DELEGATION_TOKEN_OWNER_MISMATCH Fatal "this principal neither owns nor may renew the token";
      64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED Fatal "tokens may not be asked for over this kind of connection";
      65 DELEGATION_TOKEN_AUTHORIZATION_FAILED Fatal "this principal may not do that with the token";
      66 DELEGATION_TOKEN_EXPIRED Fatal "the delegation token has expired";
      67 INVALID_PRINCIPAL_TYPE Fatal "the cluster has no principals of this type";
      68 NON_EMPTY_GROUP Fatal "the group still has members";
      69 GROUP_ID_NOT_FOUND Fatal "there is no such group";
      70 FETCH_SESSION_ID_NOT_FOUND Retry "the broker has dropped this fetch session: begin a new one";
      71 INVALID_FETCH_SESSION_EPOCH Retry "the fetch session has lost its count of requests: begin a new one";
      72 LISTENER_NOT_FOUND RefreshMetadata "the leader has no listener of the kind over which it was asked for";
      73 TOPIC_DELETION_DISABLED Fatal "the cluster allows no topic to be deleted";
      74 FENCED_LEADER_EPOCH RefreshMetadata "what the client knows of the partition's leader is older than what the broker knows";
      75 UNKNOWN_LEADER_EPOCH RefreshMetadata "what the client knows of the partition's leader is newer than what the broker knows";
      76 UNSUPPORTED_COMPRESSION_TYPE Fatal "the version of the request is too old for this compression, or there is none of this number";
      77 STALE_BROKER_EPOCH Fatal "the request comes from an earlier life of a broker";
      78 OFFSET_NOT_AVAILABLE Retry "a new leader does not yet know how far its log is replicated";
      79 MEMBER_ID_REQUIRED Rejoin "join again with the member id that came with this answer";
      80 PREFERRED_LEADER_NOT_AVAILABLE RefreshMetadata "the replica that should lead is not in sync or is down";
      81 GROUP_MAX_SIZE_REACHED Fatal "the group has as many members as the broker allows";
      82 FENCED_INSTANCE_ID Fatal "another member has joined with the same group instance id";
      83 ELIGIBLE_LEADERS_NOT_AVAILABLE RefreshMetadata "no replica that may lead is up";
      84 ELECTION_NOT_NEEDED Fatal "the replica that should lead does";
      85 NO_REASSIGNMENT_IN_PROGRESS Fatal "no replicas of the partition are being moved";
      86 GROUP_SUBSCRIBED_TO_TOPIC Fatal "the group is reading the topic whose offsets were to be deleted";
      87 INVALID_RECORD Fatal "a record breaks a rule of the topic or of the format";
      88 UNSTABLE_OFFSET_COMMIT Retry "an open transaction has committed offsets that may yet be taken back";
      89 THROTTLING_QUOTA_EXCEEDED Retry "changes came faster than the quota allows";
      90 PRODUCER_FENCED Fatal "another producer has begun with the same transactional id";
      91 RESOURCE_NOT_FOUND Fatal "what the request is about does not exist";
      92 DUPLICATE_RESOURCE Fatal "the request names the same thing twice";
      93 UNACCEPTABLE_CREDENTIAL Fatal "the credential is weaker than the broker allows";
      94 INCONSISTENT_VOTER_SET Fatal "one side is not among the voters of the metadata quorum";
      95 INVALID_UPDATE_VERSION Fatal "the version does not follow the one there is";
      96 FEATURE_UPDATE_FAILED Fatal "the controller could not change the cluster's features";
      97 PRINCIPAL_DESERIALIZATION_FAILURE Fatal "a broker forwarded a principal that the controller could not read";
      98 SNAPSHOT_NOT_FOUND Fatal "there is no such snapshot of the metadata";
      99 POSITION_OUT_OF_RANGE Fatal "the position is not within the snapshot";
     100 UNKNOWN_TOPIC_ID RefreshMetadata "this broker has no topic with this id, or has not heard of it yet";
     101 DUPLICATE_BROKER_REGISTRATION Fatal "a broker of this id is running already";
     102 BROKER_ID_NOT_REGISTERED Fatal "no broker of this id is registered";
     103 INCONSISTENT_TOPIC_ID RefreshMetadata "the topic was deleted and made again since the client learnt its id";
     104 INCONSISTENT_CLUSTER_ID Fatal "the request was meant for another cluster";
     105 TRANSACTIONAL_ID_NOT_FOUND Fatal "the coordinator does not have this transactional id";
     106 FETCH_SESSION_TOPIC_ID_ERROR Retry "a fetch session began with topic ids and went on without, or the reverse";
     107 INELIGIBLE_REPLICA Fatal "a replica that may not be in sync was named as such";
     108 NEW_LEADER_ELECTED Fatal "the change was made, and made another broker the leader";
     109 OFFSET_MOVED_TO_TIERED_STORAGE Fatal "the offset is no longer on the broker's own disk";
     110 FENCED_MEMBER_EPOCH Rejoin "the coordinator has given this member up: it must let go of its partitions and join again";
     111 UNRELEASED_INSTANCE_ID Fatal "a member with this group instance id has not left yet";
     112 UNSUPPORTED_ASSIGNOR Fatal "the broker has no such assignor for groups";
     113 STALE_MEMBER_EPOCH Retry "the member's epoch is behind: the next heartbeat tells it the new one";
     114 MISMATCHED_ENDPOINT_TYPE Fatal "a broker was asked what only controllers answer, or the reverse";
     115 UNSUPPORTED_ENDPOINT_TYPE Fatal "the broker does not know this kind of endpoint";
     116 UNKNOWN_CONTROLLER_ID Fatal "there is no controller of this id";
     117 UNKNOWN_SUBSCRIPTION_ID Fatal "the client's metrics are no longer wanted in this form";
     118 TELEMETRY_TOO_LARGE Fatal "the client's metrics are larger than the broker takes";
     119 INVALID_REGISTRATION Fatal "the controller refuses the broker's registration";
     120 TRANSACTION_ABORTABLE Fatal "the transaction can only be aborted; the producer may go on with another";
     121 INVALID_RECORD_STATE Fatal "the record was not this member's to acknowledge";
     122 SHARE_SESSION_NOT_FOUND Retry "the broker has dropped this share session: begin a new one";
     123 INVALID_SHARE_SESSION_EPOCH Retry "the share session has lost its count of requests: begin a new one";
     124 FENCED_STATE_EPOCH Fatal "the share group's state has been taken over since";
     125 INVALID_VOTER_KEY Fatal "the voter's key is not that of the replica it reached";
     126 DUPLICATE_VOTER Fatal "the replica is a voter already";
     127 VOTER_NOT_FOUND Fatal "the replica is no voter";
     128 INVALID_REGULAR_EXPRESSION Fatal "the pattern of topics is not a regular expression that the broker can read";
     129 REBOOTSTRAP_REQUIRED RefreshMetadata "the brokers that the client knows are no longer its cluster: begin at the bootstrap servers";
     130 STREAMS_INVALID_TOPOLOGY Fatal "the streams application's topology cannot be run";
     131 STREAMS_INVALID_TOPOLOGY_EPOCH Fatal "the topology's epoch does not fit the group's";
     132 STREAMS_TOPOLOGY_FENCED Fatal "the member's topology is older than the group's";
     133 SHARE_SESSION_LIMIT_REACHED Retry "the broker keeps as many share sessions as it may";
}

impl ErrorCode {
    pub fn is_ok(self) -> bool {
        self == Self::NONE
    }

    /// Whether a later try, perhaps elsewhere, can succeed.
    pub fn is_retriable(self) -> bool {
        matches!(self.class(), Class::Retry | Class::RefreshMetadata | Class::FindCoordinator)
    }

    /// Whether nobody can tell from it what went wrong: the broker has no code for it, or the table has not this one. It may
    /// be over by the next try.
    pub fn is_unexplained(self) -> bool {
        self == Self::UNKNOWN_SERVER_ERROR || self.name().is_none()
    }

    /// `Ok` for `NONE`, for use with `?`.
    pub fn ok(self) -> Result<(), Self> {
        if self.is_ok() { Ok(()) } else { Err(self) }
    }
}

impl From<i16> for ErrorCode {
    fn from(number: i16) -> Self {
        Self(number)
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "UNKNOWN({})", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_classes() {
        let check = |number: i16, name: &str, class: Class| {
            let code = ErrorCode::from(number);
            assert_eq!((code.to_string().as_str(), code.class()), (name, class));
        };
        check(0, "NONE", Class::Ok);
        check(-1, "UNKNOWN_SERVER_ERROR", Class::Fatal);
        check(6, "NOT_LEADER_OR_FOLLOWER", Class::RefreshMetadata);
        check(14, "COORDINATOR_LOAD_IN_PROGRESS", Class::Retry);
        check(16, "NOT_COORDINATOR", Class::FindCoordinator);
        check(25, "UNKNOWN_MEMBER_ID", Class::Rejoin);
        check(45, "OUT_OF_ORDER_SEQUENCE_NUMBER", Class::Fatal);
        check(150, "UNKNOWN(150)", Class::Fatal);
    }

    #[test]
    fn what_has_a_name_is_explained() {
        let unexplained = [-1, 134, 150, -2, i16::MAX].map(|number| ErrorCode(number).is_unexplained());
        assert_eq!(unexplained, [true; 5]);
        let explained = ErrorCode::ALL.iter().filter(|code| !code.is_unexplained()).count();
        assert_eq!((explained, ErrorCode::NONE.is_unexplained()), (ErrorCode::ALL.len() - 1, false));
    }

    #[test]
    fn every_code_has_a_meaning_of_its_own() {
        let mut meanings: Vec<_> = ErrorCode::ALL.iter().filter_map(|code| code.meaning()).collect();
        assert!(meanings.iter().all(|meaning| !meaning.ends_with('.') && meaning.len() < 100));
        meanings.sort_unstable();
        meanings.dedup();
        assert_eq!(meanings.len(), ErrorCode::ALL.len());
        assert_eq!((ErrorCode::NONE.meaning(), ErrorCode(150).meaning()), (None, None));
    }

    #[test]
    fn the_table_has_each_number_once_and_no_gap() {
        let numbers: Vec<i16> = ErrorCode::ALL.iter().map(|code| code.0).collect();
        let expected: Vec<i16> = (-1..=133).filter(|n| *n != 0).collect();
        assert_eq!(numbers, expected);
    }
}
