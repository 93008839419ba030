//! Who may do what: the rules of a cluster's authorizer (KIP-140, KIP-290), asked for and changed. Any broker takes them.
//!
//! A cluster without an authorizer refuses all of this with SECURITY_DISABLED. Brokers hear of a change one after the
//! other: a rule that was made may be missing from another broker's answer for a moment.

use std::fmt;
use std::str::FromStr;

use super::{Admin, Round, all_failed, passes_but_unknown, unanswered};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    AclCreation, AclDescription, CreateAclsRequest, DeleteAclsFilter, DeleteAclsFilterResult, DeleteAclsMatchingAcl,
    DeleteAclsRequest, DescribeAclsRequest, DescribeAclsResource, DescribeAclsResponse,
};
use crate::protocol::types::Str;

/// What a filter says where anything will do.
const ANY: i8 = 1;
/// Names that a filter finds as the authorizer would: literal ones, prefixes of it and `*`.
const MATCH: i8 = 2;

/// A closed list of Kafka's with the numbers that stand for it on the wire, and whatever a later Kafka adds to it.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$note:meta])* $case:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$note])* $case,)+
            /// One that we have no name for.
            Other(i8),
        }

        impl $name {
            fn number(self) -> i8 {
                match self {
                    $(Self::$case => $number,)+
                    Self::Other(number) => number,
                }
            }
        }

        impl From<i8> for $name {
            fn from(number: i8) -> Self {
                match number {
                    $($number => Self::$case,)+
                    other => Self::Other(other),
                }
            }
        }

        /// As Kafka's own tools write it.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$case => f.write_str($text),)+
                    Self::Other(number) => write!(f, "UNKNOWN({number})"),
                }
            }
        }

        /// In large or small letters, with or without what is between the words.
        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let plain = |text: &str| text.replace(['_', '-'], "").to_ascii_uppercase();
                $(if plain(text) == plain($text) {
                    return Ok(Self::$case);
                })+
                Err(format!(concat!("{:?} is no ", $what, ": {}"), text, [$($text),+].join(", ").to_ascii_lowercase()))
            }
        }
    };
}

numbered! {
    /// What a rule is about.
    AclResource, "kind of resource" {
        Topic = 2 "TOPIC",
        Group = 3 "GROUP",
        /// The cluster as a whole; its name is [`Acl::CLUSTER`].
        Cluster = 4 "CLUSTER",
        TransactionalId = 5 "TRANSACTIONAL_ID",
        DelegationToken = 6 "DELEGATION_TOKEN",
        /// KIP-373.
        User = 7 "USER",
    }
}

numbered! {
    /// How a rule's name is meant (KIP-290).
    AclPattern, "kind of name" {
        /// That name and no other; `*` is all names.
        Literal = 3 "LITERAL",
        /// All names that begin with it.
        Prefixed = 4 "PREFIXED",
    }
}

numbered! {
    /// What a rule lets somebody do, or not.
    AclOperation, "operation" {
        All = 2 "ALL",
        Read = 3 "READ",
        Write = 4 "WRITE",
        Create = 5 "CREATE",
        Delete = 6 "DELETE",
        Alter = 7 "ALTER",
        Describe = 8 "DESCRIBE",
        ClusterAction = 9 "CLUSTER_ACTION",
        DescribeConfigs = 10 "DESCRIBE_CONFIGS",
        AlterConfigs = 11 "ALTER_CONFIGS",
        IdempotentWrite = 12 "IDEMPOTENT_WRITE",
        CreateTokens = 13 "CREATE_TOKENS",
        DescribeTokens = 14 "DESCRIBE_TOKENS",
        /// KIP-939.
        TwoPhaseCommit = 15 "TWO_PHASE_COMMIT",
    }
}

numbered! {
    /// Whether a rule allows or forbids; what is forbidden by any rule is not allowed by another.
    AclPermission, "permission" {
        Deny = 2 "DENY",
        Allow = 3 "ALLOW",
    }
}

/// A rule: whether somebody, from somewhere, may do something with something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Acl {
    pub resource: AclResource,
    pub name: String,
    pub pattern: AclPattern,
    /// `User:alice`; `User:*` is everybody.
    pub principal: String,
    /// An address; `*` is anywhere.
    pub host: String,
    pub operation: AclOperation,
    pub permission: AclPermission,
}

impl Acl {
    /// The name of the one resource of kind [`AclResource::Cluster`].
    pub const CLUSTER: &'static str = "kafka-cluster";
}

/// Which rules are meant; `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct AclFilter {
    pub resource: Option<AclResource>,
    pub name: Option<String>,
    pub pattern: AclPatternFilter,
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<AclOperation>,
    pub permission: Option<AclPermission>,
}

/// How the name in a filter is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AclPatternFilter {
    /// The name of a rule, of whatever kind.
    #[default]
    Any,
    /// The name of a resource: all rules that apply to it, prefixes and `*` among them.
    Match,
    /// The name of a rule of this kind.
    Is(AclPattern),
}

impl AclPatternFilter {
    fn number(self) -> i8 {
        match self {
            Self::Any => ANY,
            Self::Match => MATCH,
            Self::Is(pattern) => pattern.number(),
        }
    }
}

/// What became of rules that matched a filter.
type Deleted = Result<Vec<(Acl, Result<(), Error>)>, Error>;

impl Admin {
    /// The rules that match, in order.
    pub async fn describe_acls(&self, filter: &AclFilter) -> Result<Vec<Acl>, Error> {
        let asked = self.in_rounds(vec![()], passes_but_unknown, |_, round| async move {
            vec![((), self.ask_acls(filter, round).await)]
        });
        let said = asked.await.pop().map_or_else(|| Ok(Vec::new()), |((), said)| said);
        said.map_err(|error| error.of(DescribeAclsRequest::NAME))
    }

    async fn ask_acls(&self, filter: &AclFilter, round: Round) -> Result<Vec<Acl>, Error> {
        let request = filter.to_describe();
        let answer = self.cluster.call(To::Any, Lane::General, request, round.left()).await?.body;
        verdict(answer.error_code, answer.error_message.as_deref())?;
        Ok(described(answer))
    }

    /// Makes rules. One that is there already is no mistake.
    pub async fn create_acls(&self, acls: &[Acl]) -> Result<Vec<(Acl, Result<(), Error>)>, Error> {
        let created = self.in_rounds(acls.to_vec(), passes_but_unknown, |open, round| async move {
            let request = CreateAclsRequest { creations: open.iter().map(Acl::on_the_wire).collect() };
            let answer = match self.cluster.call(To::Any, Lane::General, request, round.left()).await {
                Ok(answer) => answer.body,
                Err(error) => return all_failed(open, &error),
            };
            let mut results = answer.results.into_iter();
            let outcome = |acl: &Acl| match results.next() {
                Some(it) => verdict(it.error_code, it.error_message.as_deref()),
                None => Err(unanswered(acl)),
            };
            in_order(open, outcome)
        });
        let named = |(acl, outcome): (Acl, Result<(), Error>)| {
            (acl, outcome.map_err(|error| error.of(CreateAclsRequest::NAME)))
        };
        Ok(created.await.into_iter().map(named).collect())
    }

    /// Removes the rules that match each filter, and says which they were. When the answer to a first try is lost, what it
    /// removed is not among them.
    pub async fn delete_acls(&self, filters: &[AclFilter]) -> Result<Vec<(AclFilter, Deleted)>, Error> {
        let deleted = self.in_rounds(filters.to_vec(), passes_but_unknown, |open, round| async move {
            let request = DeleteAclsRequest { filters: open.iter().map(AclFilter::to_delete).collect() };
            let answer = match self.cluster.call(To::Any, Lane::General, request, round.left()).await {
                Ok(answer) => answer.body,
                Err(error) => return all_failed(open, &error),
            };
            let mut results = answer.filter_results.into_iter();
            in_order(open, |_| results.next().map_or_else(|| Err(unanswered(&"a filter")), removed))
        });
        let named = |(filter, outcome): (AclFilter, Deleted)| {
            (filter, outcome.map_err(|error| error.of(DeleteAclsRequest::NAME)))
        };
        Ok(deleted.await.into_iter().map(named).collect())
    }
}

fn in_order<K, V>(keys: Vec<K>, mut outcome: impl FnMut(&K) -> V) -> Vec<(K, V)> {
    let with = |key: K| {
        let outcome = outcome(&key);
        (key, outcome)
    };
    keys.into_iter().map(with).collect()
}

fn verdict(code: i16, words: Option<&str>) -> Result<(), Error> {
    ErrorCode(code).ok().map_err(|code| Error::broker_says(code, words))
}

fn described(answer: DescribeAclsResponse) -> Vec<Acl> {
    let of = |resource: DescribeAclsResource| {
        let DescribeAclsResource { resource_type, resource_name, pattern_type, acls, .. } = resource;
        acls.into_iter().map(move |it: AclDescription| Acl {
            resource: resource_type.into(),
            name: resource_name.to_string(),
            pattern: pattern_type.into(),
            principal: it.principal.to_string(),
            host: it.host.to_string(),
            operation: it.operation.into(),
            permission: it.permission_type.into(),
        })
    };
    let mut acls: Vec<Acl> = answer.resources.into_iter().flat_map(of).collect();
    acls.sort_unstable();
    acls
}

fn removed(result: DeleteAclsFilterResult) -> Deleted {
    verdict(result.error_code, result.error_message.as_deref())?;
    let one = |it: DeleteAclsMatchingAcl| {
        let outcome = verdict(it.error_code, it.error_message.as_deref());
        (it.into(), outcome)
    };
    let mut removed: Vec<(Acl, _)> = result.matching_acls.into_iter().map(one).collect();
    removed.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(removed)
}

impl Acl {
    fn on_the_wire(&self) -> AclCreation {
        AclCreation {
            resource_type: self.resource.number(),
            resource_name: self.name.as_str().into(),
            resource_pattern_type: self.pattern.number(),
            principal: self.principal.as_str().into(),
            host: self.host.as_str().into(),
            operation: self.operation.number(),
            permission_type: self.permission.number(),
        }
    }
}

impl From<DeleteAclsMatchingAcl> for Acl {
    fn from(it: DeleteAclsMatchingAcl) -> Self {
        Self {
            resource: it.resource_type.into(),
            name: it.resource_name.to_string(),
            pattern: it.pattern_type.into(),
            principal: it.principal.to_string(),
            host: it.host.to_string(),
            operation: it.operation.into(),
            permission: it.permission_type.into(),
        }
    }
}

/// `ALLOW User:alice from * to READ on TOPIC logs- (PREFIXED)`
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, name, pattern, principal, host, operation, permission } = self;
        write!(f, "{permission} {principal} from {host} to {operation} on {resource} {name} ({pattern})")
    }
}

impl AclFilter {
    fn to_describe(&self) -> DescribeAclsRequest {
        DescribeAclsRequest {
            resource_type_filter: self.resource.map_or(ANY, AclResource::number),
            resource_name_filter: text(&self.name),
            pattern_type_filter: self.pattern.number(),
            principal_filter: text(&self.principal),
            host_filter: text(&self.host),
            operation: self.operation.map_or(ANY, AclOperation::number),
            permission_type: self.permission.map_or(ANY, AclPermission::number),
        }
    }

    fn to_delete(&self) -> DeleteAclsFilter {
        let DescribeAclsRequest {
            resource_type_filter,
            resource_name_filter,
            pattern_type_filter,
            principal_filter,
            host_filter,
            operation,
            permission_type,
        } = self.to_describe();
        DeleteAclsFilter {
            resource_type_filter,
            resource_name_filter,
            pattern_type_filter,
            principal_filter,
            host_filter,
            operation,
            permission_type,
        }
    }
}

fn text(of: &Option<String>) -> Option<Str> {
    of.as_deref().map(Str::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_as_both_tools_write_them() {
        for text in ["DescribeConfigs", "describe_configs", "DESCRIBE-CONFIGS"] {
            assert_eq!(text.parse(), Ok(AclOperation::DescribeConfigs), "{text}");
        }
        let error = "redd".parse::<AclOperation>().unwrap_err();
        assert!(error.starts_with("\"redd\" is no operation: all, read, write"), "{error}");
        for number in 0..=20 {
            assert_eq!(AclOperation::from(number).number(), number);
            assert_eq!(AclResource::from(number).number(), number);
            assert_eq!(AclPattern::from(number).number(), number);
            assert_eq!(AclPermission::from(number).number(), number);
        }
        assert_eq!(AclResource::Other(9).to_string(), "UNKNOWN(9)");
    }

    #[test]
    fn what_a_filter_leaves_open_is_any() {
        let open = AclFilter::default().to_describe();
        let numbers = (open.resource_type_filter, open.pattern_type_filter, open.operation, open.permission_type);
        assert_eq!((numbers, open.resource_name_filter, open.principal_filter), ((1, 1, 1, 1), None, None));
        let closed = AclFilter {
            resource: Some(AclResource::Topic),
            name: Some("t".to_owned()),
            pattern: AclPatternFilter::Match,
            permission: Some(AclPermission::Deny),
            ..AclFilter::default()
        };
        let closed = closed.to_delete();
        let numbers = (closed.resource_type_filter, closed.pattern_type_filter, closed.permission_type);
        assert_eq!((numbers, closed.resource_name_filter.as_deref()), ((2, 2, 2), Some("t")));
    }
}
