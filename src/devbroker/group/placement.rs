//! Which broker keeps a group.

use crate::protocol::types::BrokerId;

/// The broker that keeps a group: Java's hash of its name, over the brokers in the order of their ids. Kafka takes the
/// hash over the partitions of `__consumer_offsets` and asks who leads that one; here brokers stand in for partitions, so
/// that a test can say in advance which broker it will be.
pub fn coordinator_of(group_id: &str, brokers: impl ExactSizeIterator<Item = BrokerId>) -> Option<BrokerId> {
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    // `Utils.abs`: the one number without a positive counterpart counts as 0.
    let positive = usize::try_from(hash.checked_abs().unwrap_or(0)).unwrap_or(0);
    let at = positive.checked_rem(brokers.len())?;
    brokers.into_iter().nth(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_fall_where_javas_hash_puts_them() {
        // What `String.hashCode` says of each, without its sign; of the last but one it is `Integer.MIN_VALUE`.
        let cases = [("", 0), ("a", 97), ("ab", 3105), ("hello", 99_162_322), ("polygenelubricants", 0), ("é", 233)];
        for (group_id, hash) in cases {
            for count in [1, 2, 3, 7] {
                assert_eq!(
                    coordinator_of(group_id, (1..count + 1).collect::<Vec<_>>().into_iter()),
                    Some(hash % count + 1),
                    "{group_id} over {count}"
                );
            }
        }
        assert_eq!(coordinator_of("any", std::iter::empty()), None);
    }
}
