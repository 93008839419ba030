//! Who else reads: members of our groups that are not ours.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::lag::Round;

/// Groups in which others were seen; a cheap handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Others(Arc<Mutex<BTreeSet<String>>>);

impl Others {
    /// Looks at every round, for as long as there are any: in each of these groups, one member is ours.
    pub(super) async fn watch(self, groups: &[String], mut rounds: watch::Receiver<Option<Arc<Round>>>) {
        while rounds.changed().await.is_ok() {
            let round = rounds.borrow_and_update().clone();
            self.look(groups, round.as_deref());
        }
    }

    fn look(&self, groups: &[String], round: Option<&Round>) {
        let members = |group: &str| round?.group(group)?.members.as_ref().map(|members| members.len());
        let shared = groups.iter().filter(|group| members(group).is_some_and(|count| count > 1));
        // A set that is only added to is never half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(shared.cloned());
    }

    pub(super) fn seen(&self) -> BTreeSet<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::GroupMember;
    use crate::lag::Group;

    #[test]
    fn more_than_one_member_is_company() {
        let member = GroupMember {
            member_id: "m".to_owned(),
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            ..GroupMember::default()
        };
        let group = |name: &str, members: Option<usize>| Group {
            name: name.into(),
            state: None,
            kind: None,
            protocol_type: None,
            coordinator: 1,
            members: members.map(|count| vec![member.clone(); count].into()),
            assignor: None,
        };
        let others = Others::default();
        let check = |members: [Option<usize>; 2], want: &[&str]| {
            let groups = [("a", members[0]), ("b", members[1]), ("c", Some(9))];
            let groups = groups.map(|(name, members)| group(name, members)).to_vec();
            others.look(&["a".to_owned(), "b".to_owned()], Some(&Round { groups, ..Round::default() }));
            assert!(others.seen().iter().eq(want), "{members:?}: {:?}", others.seen());
        };
        check([None, Some(1)], &[]);
        check([Some(1), Some(2)], &["b"]);
        // Who has left has been there.
        check([Some(1), Some(1)], &["b"]);
        others.look(&["a".to_owned()], None);
    }
}
