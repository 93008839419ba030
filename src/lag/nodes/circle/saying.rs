//! What a node says as it joins, as text that nodes of other versions can read.

use serde::{Deserialize, Serialize};

use crate::lag::nodes::MemberId;

/// What one node lets all others know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    pub id: MemberId,
    /// Whether it has been in the group for long enough to have groups.
    pub is_ripe: bool,
    /// Those among whom it tells only its own groups, until it hears of others; `None`: it tells nothing until then.
    pub keeps: Option<Vec<MemberId>>,
}

impl Saying {
    /// Whether this one tells none of the groups of a node that is in the roll.
    pub fn lets(&self, other: &MemberId) -> bool {
        self.keeps.as_ref().is_none_or(|keeps| keeps.contains(other))
    }

    pub fn write(&self) -> Vec<u8> {
        text(&Text::of(self))
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Text>(bytes).ok()?.said()
    }

    pub fn write_all(all: &[Self]) -> Vec<u8> {
        text(&all.iter().map(Text::of).collect::<Vec<_>>())
    }

    pub fn read_all(bytes: &[u8]) -> Option<Vec<Self>> {
        serde_json::from_slice::<Vec<Text>>(bytes).ok()?.into_iter().map(Text::said).collect()
    }
}

/// Fields that later versions add are passed over.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    id: String,
    ripe: bool,
    keeps: Option<Vec<String>>,
}

impl Text {
    fn of(it: &Saying) -> Self {
        let keeps = it.keeps.as_ref().map(|all| all.iter().map(ToString::to_string).collect());
        Self { id: it.id.to_string(), ripe: it.is_ripe, keeps }
    }

    fn said(self) -> Option<Saying> {
        let keeps = self.keeps.map(|all| all.iter().map(|id| MemberId::parse(id)).collect::<Option<_>>());
        let keeps = match keeps {
            Some(None) => return None,
            keeps => keeps.flatten(),
        };
        Some(Saying { id: MemberId::parse(&self.id)?, is_ripe: self.ripe, keeps })
    }
}

/// Texts and flags always become JSON.
fn text(of: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(of).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn sayings_as_text() {
        let id = |name: &str, life| MemberId { name: Arc::from(name), life };
        let all = [
            Saying { id: id("a#b\"", u64::MAX), is_ripe: true, keeps: Some(vec![id("a#b\"", u64::MAX), id("ü", 1)]) },
            Saying { id: id("c", 0), is_ripe: false, keeps: None },
            Saying { id: id("d", 2), is_ripe: true, keeps: Some(vec![]) },
        ];
        assert_eq!(Saying::read_all(&Saying::write_all(&all)).as_deref(), Some(&all[..]));
        all.iter().for_each(|one| assert_eq!(Saying::read(&one.write()).as_ref(), Some(one)));
        // Nodes of different versions are in one group: this never changes.
        assert_eq!(
            String::from_utf8(all[1].write()).unwrap(),
            r#"{"id":"c#0000000000000000","ripe":false,"keeps":null}"#
        );
        let later = br#"{"id":"c#1","ripe":true,"keeps":["a#2"],"later":1}"#;
        assert_eq!(Saying::read(later).map(|it| it.keeps), Some(Some(vec![id("a", 2)])));
        for wrong in ["", "{}", "[]", r#"{"id":"c","ripe":true}"#, r#"{"id":"c#1","ripe":true,"keeps":["a"]}"#] {
            assert_eq!(Saying::read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn whose_groups_one_keeps_off() {
        let id = |name: &str| MemberId { name: Arc::from(name), life: 1 };
        let check = |keeps: Option<&[&str]>, want: bool| {
            let keeps = keeps.map(|all| all.iter().map(|name| id(name)).collect());
            assert_eq!(Saying { id: id("a"), is_ripe: true, keeps }.lets(&id("b")), want);
        };
        check(None, true);
        check(Some(&["a", "b"]), true);
        check(Some(&["a", "c"]), false);
    }
}
