//! Whose versions are advertised: those of Kafka 4.3, or fewer, as older and other clusters do, so that what a client falls
//! back to can be tried without them.
//!
//! Only the highest version of each API is another cluster's. The lowest are Kafka 4.3's in any case: what Kafka 4 no
//! longer speaks is not spoken here either (KIP-896). What is answered in a version is what Kafka 4.3 answers in it.

use std::ops::RangeInclusive;

use super::handlers::SERVED;

/// The feature whose level is a setting.
pub(super) const TRANSACTION_VERSION: &str = "transaction.version";

/// A cluster whose versions are advertised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Profile {
    #[default]
    Kafka43,
    /// The last one before groups of the consumer protocol: it speaks of them, and has none. Transactions are those before
    /// Kafka 4.
    Kafka39,
    /// The last one that had brokers without KRaft only. It knows topic ids in Metadata, and uses them nowhere else.
    Kafka28,
    /// One group in each OffsetFetch, one key in each FindCoordinator, and hardly anything flexible (KIP-482).
    Redpanda24,
    /// Groups and keys in batches, and produce and fetch as before.
    Redpanda25,
}

/// The highest version of an API; what is not in a list is not served.
type Limits = &'static [(i16, i16)];

const KAFKA_39: Limits = &[
    (0, 11),
    (1, 17),
    (2, 9),
    (3, 12),
    (8, 9),
    (9, 9),
    (10, 6),
    (11, 9),
    (12, 4),
    (13, 5),
    (14, 5),
    (15, 5),
    (16, 5),
    (17, 1),
    (18, 4),
    (19, 7),
    (20, 6),
    (21, 2),
    (22, 5),
    (23, 4),
    (24, 5),
    (25, 4),
    (26, 4),
    (27, 1),
    (28, 4),
    (32, 4),
    (33, 2),
    (35, 4),
    (36, 2),
    (37, 3),
    (42, 2),
    (44, 1),
    (47, 0),
    (48, 1),
    (50, 0),
    (51, 0),
    (60, 1),
    (61, 0),
    (65, 0),
    (66, 1),
    (68, 0),
    (69, 0),
    (75, 0),
];

const KAFKA_28: Limits = &[
    (0, 9),
    (1, 12),
    (2, 6),
    (3, 11),
    (8, 8),
    (9, 7),
    (10, 3),
    (11, 7),
    (12, 4),
    (13, 4),
    (14, 5),
    (15, 5),
    (16, 4),
    (17, 1),
    (18, 3),
    (19, 7),
    (20, 6),
    (21, 2),
    (22, 4),
    (23, 4),
    (24, 3),
    (25, 3),
    (26, 3),
    (27, 1),
    (28, 3),
    (32, 4),
    (33, 2),
    (35, 2),
    (36, 2),
    (37, 3),
    (42, 2),
    (44, 1),
    (47, 0),
    (48, 1),
    (50, 0),
    (51, 0),
    (60, 0),
    (61, 0),
];

const REDPANDA_24: Limits = &[
    (0, 7),
    (1, 11),
    (2, 4),
    (3, 7),
    (8, 7),
    (9, 7),
    (10, 3),
    (11, 5),
    (12, 3),
    (13, 3),
    (14, 3),
    (15, 5),
    (16, 4),
    (17, 1),
    (18, 3),
    (19, 5),
    (20, 3),
    (21, 2),
    (22, 1),
    (23, 3),
    (24, 3),
    (25, 3),
    (26, 3),
    (28, 3),
    (32, 2),
    (33, 1),
    (35, 2),
    (36, 2),
    (37, 1),
    (42, 1),
    (44, 0),
    (47, 0),
    (61, 0),
    (65, 0),
    (66, 0),
];

const REDPANDA_25: Limits = &[
    (0, 7),
    (1, 11),
    (2, 6),
    (3, 8),
    (8, 8),
    (9, 8),
    (10, 4),
    (11, 6),
    (12, 4),
    (13, 4),
    (14, 4),
    (15, 5),
    (16, 4),
    (17, 1),
    (18, 3),
    (19, 6),
    (20, 4),
    (21, 2),
    (22, 4),
    (23, 4),
    (24, 3),
    (25, 3),
    (26, 3),
    (28, 3),
    (32, 4),
    (33, 2),
    (35, 2),
    (36, 2),
    (37, 3),
    (42, 2),
    (44, 1),
    (47, 0),
    (60, 0),
    (61, 0),
    (65, 0),
    (66, 0),
];

impl Profile {
    /// The others than the default one.
    pub const OLDER: [Self; 4] = [Self::Kafka39, Self::Kafka28, Self::Redpanda24, Self::Redpanda25];

    /// `None`: everything that there is.
    fn limits(self) -> Option<Limits> {
        match self {
            Self::Kafka43 => None,
            Self::Kafka39 => Some(KAFKA_39),
            Self::Kafka28 => Some(KAFKA_28),
            Self::Redpanda24 => Some(REDPANDA_24),
            Self::Redpanda25 => Some(REDPANDA_25),
        }
    }

    /// The features that the cluster knows, and their levels (KIP-584); the highest is the one it has settled on.
    pub(super) fn features(self) -> &'static [(&'static str, RangeInclusive<i16>)] {
        match self {
            // 3.3-IV3 to 4.3-IV0; the transactions of KIP-890; the groups of KIP-848.
            Self::Kafka43 => &[("metadata.version", 7..=30), (TRANSACTION_VERSION, 0..=2), ("group.version", 0..=1)],
            Self::Kafka39 => &[("metadata.version", 1..=21)],
            Self::Kafka28 | Self::Redpanda24 | Self::Redpanda25 => &[],
        }
    }

    /// Whether the cluster has groups of the consumer protocol (KIP-848).
    pub(super) fn has_consumer_groups(self) -> bool {
        self == Self::Kafka43
    }

    /// The highest version of an API, if it is served at all.
    pub fn highest(self, api_key: i16) -> Option<i16> {
        let served = || SERVED.iter().find(|(key, _)| *key == api_key).map(|(_, versions)| *versions.end());
        match self.limits() {
            None => served(),
            Some(limits) => limits.iter().find(|(key, _)| *key == api_key).map(|(_, highest)| *highest),
        }
    }

    /// Every API that is served, and its versions.
    pub(super) fn served(self) -> impl Iterator<Item = (i16, RangeInclusive<i16>)> {
        let versions = move |(key, versions): &(i16, RangeInclusive<i16>)| {
            let highest = self.highest(*key)?;
            Some((*key, *versions.start()..=highest))
        };
        SERVED.iter().filter_map(versions)
    }

    /// Whether a request of this API and version gets past the door.
    pub(super) fn serves(self, api_key: i16, version: i16) -> bool {
        self.served().any(|(key, versions)| key == api_key && versions.contains(&version))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_advertised_that_is_not_served() {
        assert_eq!(Profile::Kafka43.served().collect::<Vec<_>>(), SERVED);
        for profile in Profile::OLDER {
            for (key, highest) in profile.limits().unwrap() {
                let row = SERVED.iter().find(|(served, _)| served == key);
                assert!(row.is_some_and(|(_, versions)| versions.contains(highest)), "{profile:?} {key}");
                assert!(profile.serves(*key, *highest) && !profile.serves(*key, highest + 1), "{profile:?} {key}");
            }
            assert!(!profile.has_consumer_groups() && !profile.serves(68, 1), "{profile:?}");
        }
    }
}
