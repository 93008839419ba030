//! What assignors send along with a subscription, as the Java client's write and read it. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::assignor::Assignor;
use super::wire::{protocol_partitions, topic_partitions};
use crate::protocol::group::{StickyUserData, decode_sticky, encode_sticky};
use crate::protocol::message::EncodeError;
use crate::protocol::types::TopicPartition;

/// What a member had by its own account, and in which generation it was assigned that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    pub generation: Option<i32>,
    pub partitions: BTreeSet<TopicPartition>,
}

/// What a member says beside its subscription: which generation it comes from, and what it was last assigned.
pub fn write(assignor: Assignor, generation: Option<i32>, last: &Claim) -> Result<Option<Bytes>, EncodeError> {
    match assignor {
        Assignor::Range | Assignor::RoundRobin => Ok(None),
        // For leaders that do not know the subscription's own field for it yet (version 2).
        Assignor::CooperativeSticky => Ok(generation.map(|number| Bytes::copy_from_slice(&number.to_be_bytes()))),
        Assignor::Sticky => {
            let Some(generation) = last.generation else { return Ok(None) };
            let previous_assignment = protocol_partitions(&last.partitions);
            encode_sticky(&StickyUserData { previous_assignment, generation }).map(Some)
        }
    }
}

/// What another member says there; what cannot be read says nothing.
pub fn read(assignor: Assignor, data: Option<&Bytes>) -> Claim {
    let known = |generation: i32| Some(generation).filter(|number| *number >= 0);
    match (assignor, data) {
        (Assignor::CooperativeSticky, Some(data)) => {
            let generation = data.first_chunk().and_then(|bytes| known(i32::from_be_bytes(*bytes)));
            Claim { generation, ..Claim::default() }
        }
        (Assignor::Sticky, Some(data)) => decode_sticky(data).map_or_else(
            |_| Claim::default(),
            |it| Claim {
                generation: known(it.generation),
                partitions: topic_partitions(&it.previous_assignment).collect(),
            },
        ),
        _ => Claim::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_assignor_says_what_its_leaders_ask_for() {
        let last = Claim { generation: Some(6), partitions: [TopicPartition::new("t", 2)].into() };
        let told = |assignor, generation| write(assignor, generation, &last).expect("encodes");
        assert_eq!(told(Assignor::Range, Some(7)), None);
        let cooperative = told(Assignor::CooperativeSticky, Some(7));
        assert_eq!(cooperative.as_deref(), Some(&[0, 0, 0, 7][..]));
        assert_eq!(read(Assignor::CooperativeSticky, cooperative.as_ref()).generation, Some(7));
        assert_eq!(told(Assignor::CooperativeSticky, None), None);
        assert_eq!(read(Assignor::Sticky, told(Assignor::Sticky, None).as_ref()), last);
        assert_eq!(write(Assignor::Sticky, None, &Claim::default()).expect("encodes"), None);
        for assignor in [Assignor::Range, Assignor::Sticky, Assignor::CooperativeSticky] {
            assert_eq!(read(assignor, Some(&Bytes::from_static(b"abc"))), Claim::default());
        }
    }
}
