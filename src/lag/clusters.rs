//! The clusters that one process monitors, by name: what is told of all of them together.
//!
//! Each has rounds, a history and nodes of its own, and nothing in common with the others: one that is away delays nobody. Of
//! several, every series has a label `cluster`, and a family says of which of them the lag is known at present.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::clock::Clock;
use super::exposition::known_clusters;
use super::family::Pages;
use super::text::Dialect;
use super::{Config, NoLag, Round, Rounds};
use crate::limits::Limits;

/// A cluster among several, as the file has it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    pub name: String,
    pub bootstrap_servers: Vec<String>,
    /// By their names in the Java client or in librdkafka.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// Without the values of properties, which may be secrets.
impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.bootstrap_servers.join(","))
    }
}

impl ClusterConfig {
    /// Holds all against what makes sense.
    pub(super) fn check(all: &[Self], limits: &mut Limits) {
        for (at, cluster) in all.iter().enumerate() {
            limits.not_empty("clusters.name", &cluster.name);
            let is_new = all.iter().take(at).all(|before| before.name != cluster.name);
            limits.must(is_new, "clusters.name", &cluster.name, "another one for each cluster");
            let has_servers = !cluster.bootstrap_servers.is_empty();
            limits.must(
                has_servers,
                "clusters.bootstrap_servers",
                &cluster.bootstrap_servers,
                "one HOST:PORT at least",
            );
        }
    }
}

/// A cheap handle on what is told of each cluster.
#[derive(Debug, Clone)]
pub struct Clusters {
    all: Arc<[(Config, Rounds)]>,
    clock: Clock,
}

impl Clusters {
    /// Each with the settings that it is monitored by.
    pub fn of(all: Vec<(Config, Rounds)>) -> Self {
        Self { all: all.into(), clock: Clock::start() }
    }

    /// Whether names tell them apart.
    pub(super) fn are_named(&self) -> bool {
        self.all.iter().any(|(config, _)| config.names_cluster)
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (&str, &Rounds)> {
        self.all.iter().map(|(config, rounds)| (config.cluster_name.as_str(), rounds))
    }

    /// The one of this name with its settings or, where there is only one, that.
    pub(super) fn only_or(&self, name: Option<&str>) -> Option<&(Config, Rounds)> {
        match name {
            Some(name) => self.all.iter().find(|(config, _)| config.cluster_name == name),
            None => self.all.first().filter(|_| !self.are_named()),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Rounds> {
        self.each().find(|(known, _)| *known == name).map(|(_, rounds)| rounds)
    }

    /// The last round of any of them that speaks of the present, or why there is none.
    pub fn current(&self) -> Result<Arc<Round>, NoLag> {
        self.current_at(self.clock.now_ms())
    }

    fn current_at(&self, now_ms: i64) -> Result<Arc<Round>, NoLag> {
        let mut why = NoLag::NotYet;
        for (_, rounds) in self.each() {
            match rounds.current_at(now_ms) {
                Ok(round) => return Ok(round),
                Err(no_lag) => why = no_lag,
            }
        }
        Err(why)
    }

    /// Between the starts of two rounds.
    pub fn interval(&self) -> Duration {
        self.all.iter().map(|(config, _)| config.interval()).max().unwrap_or_default()
    }

    /// How old the last round of all is, whether or not it speaks of the present.
    pub fn age(&self) -> Option<Duration> {
        let latest = self.each().filter_map(|(_, rounds)| rounds.latest()).max_by_key(|round| round.finished_ms)?;
        Some(Duration::from_millis(latest.age_ms(self.clock.now_ms())))
    }

    /// The last rounds as metrics, each family once.
    pub fn text(&self, dialect: Dialect) -> Pages {
        self.text_at(self.clock.now_ms(), dialect)
    }

    fn text_at(&self, now_ms: i64, dialect: Dialect) -> Pages {
        let known = self.are_named().then(|| {
            let known = self.each().map(|(name, rounds)| (name.to_owned(), rounds.current_at(now_ms).is_ok()));
            Pages::new(Arc::default(), dialect, vec![known_clusters(known.collect())])
        });
        let texts = self.all.iter().filter_map(|(config, rounds)| rounds.text_at(config, now_ms, dialect));
        Pages::of_all(dialect, known.into_iter().chain(texts).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::round::tests::{Plain, blank, group, round as of_rows};
    use super::super::{Family, Series};
    use super::*;

    /// Of which all but the last were read.
    fn clusters(names: &[&str]) -> Clusters {
        let of = |name: &&str| {
            let config = Config {
                cluster_name: (*name).to_owned(),
                names_cluster: names.len() > 1,
                series: Series::Detail,
                compat: [Family::KafkaExporter, Family::Kminion, Family::KafkaLagExporter].into(),
                ..Config::default()
            };
            (config, Rounds::default())
        };
        let clusters = Clusters::of(names.iter().map(of).collect());
        for (_, rounds) in clusters.each().take(names.len().saturating_sub(1).max(1)) {
            let (rows, groups) = ([Plain { records: Ok(3), ..blank("g", "t", 0) }], vec![group("g", "Stable")]);
            rounds.publish(Round { good_for_ms: 1_000, groups, ..of_rows(&rows) });
        }
        clusters
    }

    fn text(clusters: &Clusters, now_ms: i64) -> String {
        String::from_utf8(clusters.text_at(now_ms, Dialect::OpenMetrics).flatten().collect()).unwrap()
    }

    #[test]
    fn every_series_of_several_says_of_which_cluster_it_is_and_each_family_is_there_once() {
        let text = text(&clusters(&["a", "b", "c"]), 0);
        let mut heads: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = heads.len();
        heads.sort_unstable();
        heads.dedup();
        assert!(count > 50 && heads.len() == count, "{text}");
        let labelled = |line: &&str| line.contains("{cluster=\"") || line.contains("{cluster_name=\"");
        let plain: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).filter(|line| !labelled(line)).collect();
        assert_eq!(plain, Vec::<&str>::new());
        for line in [
            "highwater_lag_cluster_known{cluster=\"a\"} 1",
            "highwater_lag_cluster_known{cluster=\"c\"} 0",
            "highwater_lag_records{cluster=\"b\",consumergroup=\"g\",topic=\"t\",partition=\"0\"} 3",
            "kafka_consumergroup_lag{cluster=\"a\",consumergroup=\"g\",topic=\"t\",partition=\"0\"} 3",
            "kafka_consumergroup_group_sum_lag{cluster_name=\"b\",group=\"g\"} 3",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in {text}");
        }
    }

    #[test]
    fn one_alone_has_no_label() {
        let text = text(&clusters(&["a"]), 0);
        assert!(text.contains("\nhighwater_lag_groups 1\n") && !text.contains("{cluster=\""), "{text}");
    }

    #[test]
    fn one_that_is_old_hides_no_other() {
        let clusters = clusters(&["a", "b", "c"]);
        let rounds = clusters.get("a").unwrap();
        rounds.publish(Round { good_for_ms: 10_000, ..of_rows(&[blank("g", "t", 0)]) });
        let text = text(&clusters, 5_000);
        assert!(
            text.contains("highwater_lag_rows{cluster=\"a\"}") && !text.contains("highwater_lag_rows{cluster=\"b\"}")
        );
        assert!(text.contains("highwater_lag_round_age_seconds{cluster=\"b\"} 5"), "{text}");
        assert!(clusters.current_at(5_000).is_ok() && clusters.current_at(20_000).is_err());
    }
}
