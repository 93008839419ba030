//! `highwater acls`: who may do what, and changes to it, in the words of `kafka-acls` and `rpk security acl`.

use serde::Serialize;

use super::output::Row;
use super::session::{Session, settle};
use crate::app::{Failure, Status};
use crate::cli;
use crate::cli::acls::{Matching, NameFilter, NamePattern, Rules};
use crate::client::{Acl, AclFilter, AclOperation, AclPattern, AclPatternFilter, AclPermission, AclResource};

pub async fn acls(verb: cli::Acls) -> Result<(), Failure> {
    match verb {
        cli::Acls::List(args) => list(args).await,
        cli::Acls::Create(args) => create(args).await,
        cli::Acls::Delete(args) => delete(args).await,
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    resource: String,
    name: String,
    pattern: String,
    principal: String,
    host: String,
    operation: String,
    permission: String,
}

impl Row for Shown {
    const HEAD: &'static [&'static str] =
        &["RESOURCE", "NAME", "PATTERN", "PRINCIPAL", "HOST", "OPERATION", "PERMISSION"];

    fn cells(&self) -> Vec<String> {
        let Self { resource, name, pattern, principal, host, operation, permission } = self;
        [resource, name, pattern, principal, host, operation, permission].map(String::clone).to_vec()
    }
}

impl From<Acl> for Shown {
    fn from(acl: Acl) -> Self {
        Self {
            resource: acl.resource.to_string(),
            name: acl.name,
            pattern: acl.pattern.to_string(),
            principal: acl.principal,
            host: acl.host,
            operation: acl.operation.to_string(),
            permission: acl.permission.to_string(),
        }
    }
}

/// Each rule once, in order.
fn shown(mut acls: Vec<Acl>) -> Vec<Shown> {
    acls.sort_unstable();
    acls.dedup();
    acls.into_iter().map(Shown::from).collect()
}

async fn list(args: cli::ListAcls) -> Result<(), Failure> {
    let filters = filters(&args.rules, &args.matching).map_err(Failure::of(Status::Usage))?;
    let session = Session::open(&args.asking, "acls").await?;
    settle(args.printing.output, &shown(matching(&session, &filters).await?), Vec::new())
}

async fn matching(session: &Session, filters: &[AclFilter]) -> Result<Vec<Acl>, Failure> {
    let mut found = Vec::new();
    for filter in filters {
        found.extend(session.admin.describe_acls(filter).await?);
    }
    Ok(found)
}

async fn create(args: cli::CreateAcls) -> Result<(), Failure> {
    let wanted = wanted(&args.rules, args.pattern).map_err(Failure::of(Status::Usage))?;
    let session = Session::open(&args.asking, "acls").await?;
    let (mut created, mut failures) = (Vec::new(), Vec::new());
    for (acl, outcome) in session.admin.create_acls(&wanted).await? {
        match outcome {
            Ok(()) => created.push(acl),
            Err(error) => failures.push(Failure::new(Status::of(&error), format!("{acl}: {error}"))),
        }
    }
    settle(args.printing.output, &shown(created), failures)
}

async fn delete(args: cli::DeleteAcls) -> Result<(), Failure> {
    let filters = filters(&args.rules, &args.matching).map_err(Failure::of(Status::Usage))?;
    if filters == [AclFilter::default()] {
        return Err(Failure::new(Status::Usage, "say which rules; `acls list` shows what there is"));
    }
    let session = Session::open(&args.asking, "acls").await?;
    if args.dry_run {
        return settle(args.printing.output, &shown(matching(&session, &filters).await?), Vec::new());
    }
    let (mut deleted, mut failures) = (Vec::new(), Vec::new());
    for (_, outcome) in session.admin.delete_acls(&filters).await? {
        match outcome {
            Err(error) => failures.push(Failure::new(Status::of(&error), error)),
            Ok(acls) => acls.into_iter().for_each(|(acl, outcome)| match outcome {
                Ok(()) => deleted.push(acl),
                Err(error) => failures.push(Failure::new(Status::of(&error), format!("{acl}: {error}"))),
            }),
        }
    }
    settle(args.printing.output, &shown(deleted), failures)
}

/// Each combination of what is named is a rule.
fn wanted(rules: &Rules, pattern: NamePattern) -> Result<Vec<Acl>, String> {
    let (resources, operations) = (resources(rules), operations(rules)?);
    let subjects: Vec<_> = subjects(rules).into_iter().filter_map(|it| Some((it.0, it.1?, it.2))).collect();
    let hosts_alone = [(&rules.allow_hosts, &rules.allow_principals), (&rules.deny_hosts, &rules.deny_principals)];
    if hosts_alone.iter().any(|(hosts, principals)| !hosts.is_empty() && principals.is_empty()) {
        return Err("a host needs a principal beside it; `*` is everybody".to_owned());
    }
    if resources.is_empty() {
        return Err("say about what: --topic, --group, --transactional-id or --cluster".to_owned());
    }
    if subjects.is_empty() {
        return Err("say for whom: --allow-principal or --deny-principal".to_owned());
    }
    if operations.is_empty() {
        return Err("say which operations: --operation".to_owned());
    }
    let mut wanted = Vec::new();
    for (resource, name) in resources {
        let pattern = match (resource, pattern) {
            // There is but one, and its name is no prefix of anything.
            (AclResource::Cluster, _) | (_, NamePattern::Literal) => AclPattern::Literal,
            (_, NamePattern::Prefixed) => AclPattern::Prefixed,
        };
        for (permission, principal, host) in &subjects {
            wanted.extend(operations.iter().map(|operation| Acl {
                resource,
                name: name.clone(),
                pattern,
                principal: principal.clone(),
                host: host.clone().unwrap_or_else(|| "*".to_owned()),
                operation: *operation,
                permission: *permission,
            }));
        }
    }
    Ok(wanted)
}

/// Each combination of what is named is a filter; what is not named may be anything.
fn filters(rules: &Rules, matching: &Matching) -> Result<Vec<AclFilter>, String> {
    let pattern = match matching.pattern {
        NameFilter::Any => AclPatternFilter::Any,
        NameFilter::Match => AclPatternFilter::Match,
        NameFilter::Literal => AclPatternFilter::Is(AclPattern::Literal),
        NameFilter::Prefixed => AclPatternFilter::Is(AclPattern::Prefixed),
    };
    let subjects = subjects(rules).into_iter().map(|(permission, principal, host)| (Some(permission), principal, host));
    let either = matching.principals.iter().map(|it| (None, Some(principal(it)), None));
    let subjects = or_any(subjects.chain(either).collect(), (None, None, None));
    let resources = resources(rules).into_iter().map(|(resource, name)| (Some(resource), Some(name)));
    let operations = or_any(operations(rules)?.into_iter().map(Some).collect(), None);
    let mut filters = Vec::new();
    for (resource, name) in or_any(resources.collect(), (None, None)) {
        for (permission, principal, host) in &subjects {
            filters.extend(operations.iter().map(|operation| AclFilter {
                resource,
                name: name.clone(),
                pattern,
                principal: principal.clone(),
                host: host.clone(),
                operation: *operation,
                permission: *permission,
            }));
        }
    }
    Ok(filters)
}

fn operations(rules: &Rules) -> Result<Vec<AclOperation>, String> {
    rules.operations.iter().map(|text| text.parse()).collect()
}

fn resources(rules: &Rules) -> Vec<(AclResource, String)> {
    let of = |names: &[String], kind| names.iter().map(move |name| (kind, name.clone())).collect::<Vec<_>>();
    let mut resources = of(&rules.topics, AclResource::Topic);
    resources.extend(of(&rules.groups, AclResource::Group));
    resources.extend(of(&rules.transactional_ids, AclResource::TransactionalId));
    resources.extend(rules.cluster.then(|| (AclResource::Cluster, Acl::CLUSTER.to_owned())));
    resources
}

/// A permission, whom it is for, and from where.
type Subject = (AclPermission, Option<String>, Option<String>);

fn subjects(rules: &Rules) -> Vec<Subject> {
    let of = |permission, principals: &[String], hosts: &[String]| {
        if principals.is_empty() && hosts.is_empty() {
            return Vec::new();
        }
        let hosts = or_any(hosts.iter().cloned().map(Some).collect(), None);
        let principals = or_any(principals.iter().map(|it| Some(principal(it))).collect(), None);
        let with =
            |principal: Option<String>| hosts.iter().map(move |host| (permission, principal.clone(), host.clone()));
        principals.into_iter().flat_map(with).collect()
    };
    let mut subjects = of(AclPermission::Allow, &rules.allow_principals, &rules.allow_hosts);
    subjects.extend(of(AclPermission::Deny, &rules.deny_principals, &rules.deny_hosts));
    subjects
}

fn or_any<T>(named: Vec<T>, any: T) -> Vec<T> {
    if named.is_empty() { vec![any] } else { named }
}

/// A name alone is a user's.
fn principal(text: &str) -> String {
    if text.contains(':') { text.to_owned() } else { format!("User:{text}") }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        matching: Matching,
    }

    fn line(words: &str) -> Line {
        Line::try_parse_from(["acls"].into_iter().chain(words.split_whitespace())).unwrap()
    }

    #[test]
    fn what_is_named_is_combined() {
        let check = |words: &str, expect: &[&str]| {
            let said: Vec<String> = match wanted(&line(words).rules, NamePattern::Prefixed) {
                Ok(acls) => acls.iter().map(Acl::to_string).collect(),
                Err(error) => vec![error],
            };
            assert_eq!(said, expect, "{words}");
        };
        check(
            "--topic t --cluster --allow-principal bob --operation Create,describe_configs",
            &[
                "ALLOW User:bob from * to CREATE on TOPIC t (PREFIXED)",
                "ALLOW User:bob from * to DESCRIBE_CONFIGS on TOPIC t (PREFIXED)",
                "ALLOW User:bob from * to CREATE on CLUSTER kafka-cluster (LITERAL)",
                "ALLOW User:bob from * to DESCRIBE_CONFIGS on CLUSTER kafka-cluster (LITERAL)",
            ],
        );
        check(
            "--group g --allow-principal a --deny-principal Other:b --deny-host 1.2.3.4 --deny-host ::1 --operation all",
            &[
                "ALLOW User:a from * to ALL on GROUP g (PREFIXED)",
                "DENY Other:b from 1.2.3.4 to ALL on GROUP g (PREFIXED)",
                "DENY Other:b from ::1 to ALL on GROUP g (PREFIXED)",
            ],
        );
        check("--topic t --allow-host h --operation read", &["a host needs a principal beside it; `*` is everybody"]);
        let words = "--topic t --allow-principal a --operation redd";
        let said = wanted(&line(words).rules, NamePattern::Literal).unwrap_err();
        assert!(said.starts_with("\"redd\" is no operation: all, read, write"), "{said}");
        check("--topic t --operation read", &["say for whom: --allow-principal or --deny-principal"]);
        check("--topic t --allow-principal a", &["say which operations: --operation"]);
        check("", &["say about what: --topic, --group, --transactional-id or --cluster"]);
    }

    #[test]
    fn what_is_not_named_is_anything() {
        let check = |words: &str, expect: &[AclFilter]| {
            let Line { rules, matching } = line(words);
            assert_eq!(filters(&rules, &matching).unwrap(), expect, "{words}");
        };
        let any = AclFilter::default;
        check("", &[any()]);
        let user = |name: &str| Some(format!("User:{name}"));
        check("--principal a", &[AclFilter { principal: user("a"), ..any() }]);
        let denied =
            |host: &str| AclFilter { permission: Some(AclPermission::Deny), host: Some(host.to_owned()), ..any() };
        check("--deny-host h --deny-host i", &[denied("h"), denied("i")]);
        let topic = |name: &str| AclFilter {
            resource: Some(AclResource::Topic),
            name: Some(name.to_owned()),
            pattern: AclPatternFilter::Match,
            ..any()
        };
        check("--topic t --topic u --resource-pattern-type MATCH", &[topic("t"), topic("u")]);
    }
}
