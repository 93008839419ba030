//! `GET /api/partition-mapping`: which partition a source's events go to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;

use super::Gateway;
use super::error::Problem;
use crate::client::partition_for_key;

/// Sources remembered for the mapping; the one seen longest ago makes room for a new one.
const SOURCES_MAX: usize = 1024;

/// The last sources that sent something.
#[derive(Debug, Default)]
pub(super) struct RecentSources(Mutex<VecDeque<String>>);

impl RecentSources {
    pub(super) fn saw(&self, source: &str) {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sources.iter().any(|known| known == source) {
            return;
        }
        if sources.len() == SOURCES_MAX {
            sources.pop_front();
        }
        sources.push_back(source.to_owned());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// `partitions` in all, and for each source its partition.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Mapping {
    topic: String,
    partitions: i32,
    mapping: BTreeMap<String, i32>,
}

/// `?source=a&source=b` asks about these; without, about the sources seen last.
pub(super) async fn get(State(gateway): State<Gateway>, RawQuery(query): RawQuery) -> Result<Json<Mapping>, Problem> {
    let partitions = gateway.client.partition_count(&gateway.topic).await.map_err(|error| Problem::from(&error))?;
    let partitions = partitions.ok_or_else(|| Problem::no_partitions(&gateway.topic))?;
    let asked = asked(query.as_deref().unwrap_or_default());
    let sources = if asked.is_empty() { gateway.sources.all() } else { asked };
    let mapping = sources.into_iter().map(|source| (source.clone(), partition_for_key(source.as_bytes(), partitions)));
    Ok(Json(Mapping { topic: gateway.topic.to_string(), partitions, mapping: mapping.collect() }))
}

fn asked(query: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(|(name, _)| name == "source").map(|(_, source)| source.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_a_query() {
        let check = |query: &str, want: &[&str]| assert_eq!(asked(query), want, "{query:?}");
        check("", &[]);
        check("source=a&source=b%20c&other=d", &["a", "b c"]);
        check("source=", &[""]);
        check("%zz&&&", &[]);
    }

    #[test]
    fn remembered_sources_are_bounded() {
        let sources = RecentSources::default();
        (0..SOURCES_MAX + 2).for_each(|n| sources.saw(&format!("source-{n}")));
        sources.saw("source-5");
        let all = sources.all();
        assert_eq!((all.len(), all.first().map(String::as_str)), (SOURCES_MAX, Some("source-2")));
    }
}
