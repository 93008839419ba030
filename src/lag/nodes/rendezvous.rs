//! Which node a group belongs to: the one whose name and the group's give the highest number (rendezvous hashing). Where a
//! node comes or goes, only its own groups move. Pure, and the same in every version: nodes must agree.

use super::MemberId;

/// Those who share the groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View(Box<[(u64, MemberId)]>);

impl View {
    pub fn of<'a>(ids: impl Iterator<Item = &'a MemberId>) -> Self {
        let mut all: Box<[_]> = ids.map(|id| (hash(&id.name), id.clone())).collect();
        all.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        Self(all)
    }

    pub fn ids(&self) -> impl Iterator<Item = &MemberId> {
        self.0.iter().map(|(_, id)| id)
    }

    /// Whether `other` has all of these.
    pub fn is_part_of(&self, other: &Self) -> bool {
        self.0.iter().all(|member| other.0.contains(member))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn has(&self, id: &MemberId) -> bool {
        self.0.iter().any(|(_, member)| member == id)
    }

    /// Of two lives with one name, only one has groups.
    pub fn owner(&self, group: &str) -> Option<&MemberId> {
        let group = hash(group);
        self.0.iter().max_by_key(|(name, id)| (mixed(name ^ group), id)).map(|(_, id)| id)
    }
}

/// FNV-1a, mixed.
fn hash(text: &str) -> u64 {
    mixed(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)))
}

/// Every bit of the number changes every other (the finalizer of MurmurHash3).
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;

    fn view(names: &[&str]) -> View {
        let id = |(name, life): (&&str, u64)| MemberId { name: Arc::from(*name), life };
        View::of(names.iter().zip(0..).map(id).collect::<Vec<_>>().iter())
    }

    fn owners(view: &View) -> Vec<String> {
        (0..3_000)
            .map(|at| view.owner(&format!("group-{at}")).map(|id| id.name.to_string()).unwrap_or_default())
            .collect()
    }

    #[test]
    fn groups_are_spread_evenly_and_only_those_of_who_left_move() {
        let (three, two) = (owners(&view(&["a", "b", "c"])), owners(&view(&["a", "c"])));
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        three.iter().for_each(|owner| *counts.entry(owner).or_default() += 1);
        assert!(counts.len() == 3 && counts.values().all(|count| (900..1_100).contains(count)), "{counts:?}");
        assert!(three.iter().zip(&two).all(|(before, after)| before == "b" || before == after));
    }

    #[test]
    fn nobody_owns_anything_where_nobody_is() {
        assert_eq!(view(&[]).owner("g"), None);
    }

    #[test]
    fn of_two_lives_with_one_name_one_has_all() {
        let twice = view(&["a", "a"]);
        let lives: Vec<_> = (0..50).filter_map(|at| Some(twice.owner(&format!("g-{at}"))?.life)).collect();
        assert_eq!(lives, [1; 50]);
    }

    /// Nodes of different versions share one cluster: these never change.
    #[test]
    fn numbers_stay_what_they_are() {
        assert_eq!((hash(""), hash("group")), (0xefd0_1f60_ba99_2926, 0x828b_fa87_ffe9_ee35));
    }
}
