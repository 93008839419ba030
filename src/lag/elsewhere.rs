//! Who is asked for one group that another node tells sends the asker on there (307), where it was told how nodes are reached:
//! behind one address for all of them, an autoscaler's question comes to any. What is asked of all groups is answered with
//! this node's own.

use std::sync::Arc;

use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::{Clusters, Rounds};

/// What a node's URL has in place of the node's name.
const NAME: &str = "{}";
/// While groups change hands, two nodes may each take the other for a group's: who was sent on once is not sent on again.
const SENT_ON: &str = "sent-on=1";

impl Clusters {
    /// Where to ask for this group instead; `None` if it is this node's to answer, as well as it can. Without a name of a
    /// cluster, the only one is meant.
    pub(super) fn elsewhere(&self, cluster: Option<&str>, group: &str, asked: &Uri) -> Option<Response> {
        let (config, rounds) = self.only_or(cluster)?;
        let to = location(config.node_url.as_deref()?, &teller(rounds, group)?, asked)?;
        Some((StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to)]).into_response())
    }
}

/// The other node that tells this group, as far as this one's lease lets it believe what it knows of that.
fn teller(rounds: &Rounds, group: &str) -> Option<Arc<str>> {
    let hold = rounds.hold().filter(|hold| hold.is_valid(rounds.now()) && !hold.tells(group))?;
    hold.owner(group).map(|owner| Arc::clone(&owner.name))
}

/// The same question at another node.
fn location(node_url: &str, node: &str, asked: &Uri) -> Option<HeaderValue> {
    let (url, query) = (node_url.replace(NAME, node), asked.query().unwrap_or_default());
    if query.split('&').any(|part| part == SENT_ON) {
        return None;
    }
    let and = if query.is_empty() { "" } else { "&" };
    HeaderValue::try_from(format!("{}{}?{query}{and}{SENT_ON}", url.trim_end_matches('/'), asked.path())).ok()
}

/// Whether this leads to a node of this name, and to others when it has theirs. Who is sent on is shown it: it has no password.
pub(super) fn is_node_url(url: &str, node: &str) -> bool {
    let is_url = |uri: Uri| {
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        is_http && uri.query().is_none() && uri.authority().is_some_and(|it| !it.as_str().contains('@'))
    };
    url.contains(NAME) && url.replace(NAME, node).parse::<Uri>().is_ok_and(is_url)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt;

    use super::super::nodes::Node;
    use super::super::round::tests::{Plain, blank, round as of_rows};
    use super::super::rounds::tests::hear;
    use super::super::routes::router_of;
    use super::super::{Config, Round};
    use super::*;

    #[test]
    fn the_same_is_asked_at_the_other_node() {
        let check = |url: &str, asked: &str, want: Option<&str>| {
            let location = location(url, "b", &asked.parse().unwrap());
            assert_eq!(location.as_ref().map(|it| it.to_str().unwrap()), want, "{url} {asked}");
        };
        let plain = "http://{}.lag:9308";
        check(plain, "/api/lag/g", Some("http://b.lag:9308/api/lag/g?sent-on=1"));
        check(plain, "/api/lag/a%2Fb?topic=t%26u", Some("http://b.lag:9308/api/lag/a%2Fb?topic=t%26u&sent-on=1"));
        check("https://lag/{}/", "/api/lag?group=g", Some("https://lag/b/api/lag?group=g&sent-on=1"));
        check(plain, "/api/lag/g?topic=t&sent-on=1", None);
        check(
            plain,
            "/api/lag/sent-on=1?topic=sent-on=1",
            Some("http://b.lag:9308/api/lag/sent-on=1?topic=sent-on=1&sent-on=1"),
        );
    }

    #[test]
    fn urls_of_nodes() {
        for (url, node, want) in [
            ("http://{}:9308", "lag-0", true),
            ("https://{}.lag.svc/monitor", "lag-0", true),
            ("http://{}", "10.0.0.1:9308", true),
            ("http://lag:9308", "lag-0", false),
            ("{}:9308", "lag-0", false),
            ("ftp://{}", "lag-0", false),
            ("http://user:secret@{}", "lag-0", false),
            ("http://{}/?a=b", "lag-0", false),
            ("http://{}:9308", "lag 0", false),
        ] {
            assert_eq!(is_node_url(url, node), want, "{url} {node}");
        }
    }

    #[tokio::test]
    async fn a_group_of_another_node_is_asked_for_there() {
        let named = |url: Option<&str>| Config { node_url: url.map(str::to_owned), ..Config::default() };
        let groups: Vec<&'static str> = (0..20).map(|at| &*format!("group-{at}").leak()).collect();
        let rounds = Rounds::default();
        let mut node = Node::new("a", 10_000, 1);
        let rows: Vec<_> = groups.iter().map(|name| Plain { records: Ok(3), ..blank(name, "t", 0) }).collect();
        rounds.publish(Round { good_for_ms: i64::MAX, ..of_rows(&rows) });
        rounds.share(node.hold());
        let ask = async |url: Option<&str>, path: &str| {
            let router = router_of(Clusters::of(vec![(named(url), rounds.clone())]));
            let answer = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            let location = answer.headers().get(LOCATION).map(|it| it.to_str().unwrap().to_owned());
            (answer.status().as_u16(), location)
        };
        let there = Some("http://{}:9308");
        let of = groups[0];
        assert_eq!(ask(there, &format!("/api/lag/{of}")).await, (503, None), "it has no lease to believe in");
        hear(&mut node, &rounds, &["a", "b"], 1);
        let hold = rounds.hold().unwrap();
        let (own, other) =
            (groups.iter().find(|it| hold.tells(it)).unwrap(), groups.iter().find(|it| !hold.tells(it)).unwrap());
        for path in ["/api/lag/G", "/api/lag?group=G", "/v3/kafka/kafka/consumer/G", "/v3/kafka/kafka/consumer/G/lag"] {
            let (own, other) = (path.replace('G', own), path.replace('G', other));
            let and = if path.contains('?') { '&' } else { '?' };
            assert_eq!(ask(there, &own).await, (200, None), "{own}");
            let location = format!("http://b:9308{other}{and}sent-on=1");
            assert_eq!(ask(there, &other).await, (307, Some(location)), "{other}");
            assert_eq!(ask(there, &format!("{other}{and}sent-on=1")).await, (503, None), "{other}");
            assert_eq!(ask(None, &other).await, (503, None), "{other}");
        }
        assert_eq!(ask(there, "/api/lag").await, (200, None));
    }
}
