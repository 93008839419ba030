//! Which partition a record goes to. Values in, values out; chance is an argument.
//!
//! A partition that the caller names is kept; else the [`Partitioner`] decides. Unless another is asked for, a key
//! decides by murmur2 as in the Java client, so that the same key goes to the same partition whichever client writes
//! it. A record with neither sticks to one partition until about a batch's worth of bytes went there and then goes on to
//! one at random: full batches, and an even spread by bytes (KIP-480, made uniform by KIP-794), but for a partition
//! whose leader does not keep up, which is given less.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ProducerRecord;
use crate::protocol::murmur::partition_for_key;

/// Which partition a record goes to that does not name one itself. The names are librdkafka's, and what they do with keys is
/// the same to the bit; "any" is a partition that changes after about a batch's worth of bytes.
#[derive(Clone, Default)]
pub enum Partitioner {
    /// A key goes by murmur2, as in the Java client; without a key any.
    #[default]
    Murmur2Random,
    /// As above, but all records without a key go where an empty key does.
    Murmur2,
    /// A key goes by CRC32, as librdkafka does unless told otherwise; without a key, or with an empty one, any.
    ConsistentRandom,
    /// As above, but all records without a key go where an empty key does.
    Consistent,
    /// A key goes by FNV-1a, as in Sarama; without a key any.
    Fnv1aRandom,
    /// As above, but all records without a key go where an empty key does.
    Fnv1a,
    /// Any, whatever the key is.
    Random,
    /// See [`Partitioner::custom`].
    Custom(Arc<PartitionRule>),
}

/// From a record and the number of partitions that its topic has to one of them, the first being 0; `None` for any.
pub type PartitionRule = dyn Fn(&ProducerRecord<'_>, i32) -> Option<i32> + Send + Sync;

impl Partitioner {
    /// A rule of one's own. It is asked for every record that names no partition, on the thread that enqueues it, so it
    /// should be quick. A partition that the topic does not have is an error of the record.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use highwater::client::*;
    /// # use highwater::devbroker::{Config, DevBroker};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let broker = DevBroker::start(Config { default_partitions: 3, ..Default::default() }).await?;
    /// # let bootstrap_servers = vec![broker.bootstrap_servers()];
    /// # let config = ClientConfig { bootstrap_servers, allow_auto_create_topics: true, ..Default::default() };
    /// # let client = Client::connect(config).await?;
    /// # let topic = Topic::from("orders");
    /// // The first partition is for those in a hurry.
    /// let partitioner = Partitioner::custom(|record, partitions| {
    ///     let hurry = record.headers.iter().any(|(name, _)| *name == "hurry");
    ///     let others = partitions - 1;
    ///     Some(match record.key {
    ///         _ if hurry || others == 0 => 0,
    ///         Some(key) => 1 + partition_for_key(key, others),
    ///         None => 1,
    ///     })
    /// });
    /// let producer = client.producer(ProducerConfig { partitioner, ..Default::default() })?;
    /// let headers = [("hurry", None)];
    /// let record = ProducerRecord { key: Some(b"ann"), headers: &headers, ..ProducerRecord::new(&topic, b"now") };
    /// assert_eq!(producer.send(record).await?.partition, 0);
    /// # producer.close(Duration::from_secs(10)).await?;
    /// # Ok(broker.stop().await?)
    /// # }
    /// ```
    pub fn custom(rule: impl Fn(&ProducerRecord<'_>, i32) -> Option<i32> + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(rule))
    }

    /// As properties name them.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "murmur2_random" => Self::Murmur2Random,
            "murmur2" => Self::Murmur2,
            "consistent_random" => Self::ConsistentRandom,
            "consistent" => Self::Consistent,
            "fnv1a_random" => Self::Fnv1aRandom,
            "fnv1a" => Self::Fnv1a,
            "random" => Self::Random,
            _ => return None,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Murmur2Random => "murmur2_random",
            Self::Murmur2 => "murmur2",
            Self::ConsistentRandom => "consistent_random",
            Self::Consistent => "consistent",
            Self::Fnv1aRandom => "fnv1a_random",
            Self::Fnv1a => "fnv1a",
            Self::Random => "random",
            Self::Custom(_) => "custom",
        }
    }
}

impl fmt::Debug for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a record itself says about its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// This one, whatever it leads to.
    Fixed(i32),
    /// Whichever is sticky now.
    Any,
}

pub(super) fn choose(partitioner: &Partitioner, record: &ProducerRecord<'_>, partitions: i32) -> Choice {
    if let Some(partition) = record.partition {
        return Choice::Fixed(partition);
    }
    let or_empty = record.key.unwrap_or_default();
    let hashed = |hash: u32| i32::try_from(hash % partitions.max(1).cast_unsigned()).ok();
    let fixed = match partitioner {
        Partitioner::Murmur2Random => record.key.map(|key| partition_for_key(key, partitions)),
        Partitioner::Murmur2 => Some(partition_for_key(or_empty, partitions)),
        Partitioner::ConsistentRandom if or_empty.is_empty() => None,
        Partitioner::ConsistentRandom | Partitioner::Consistent => hashed(crc32(or_empty)),
        Partitioner::Fnv1aRandom => record.key.and_then(|key| hashed(fnv1a(key))),
        Partitioner::Fnv1a => hashed(fnv1a(or_empty)),
        Partitioner::Random => None,
        Partitioner::Custom(rule) => rule(record, partitions),
    };
    fixed.map_or(Choice::Any, Choice::Fixed)
}

/// That of IEEE 802.3, a bit at a time: keys are short.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Of 32 bits and, as Sarama has it, without the sign.
fn fnv1a(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.cast_signed().unsigned_abs()
}

/// The partition that records without key go to for now, and how many bytes had gone there when it was picked (the low half
/// of that count): one word, so that callers on several threads need no lock.
#[derive(Debug)]
pub(super) struct Sticky(AtomicU64);

impl Sticky {
    pub fn new(partition: i32, total: u64) -> Self {
        Self(AtomicU64::new(pack(partition, total)))
    }

    pub fn partition(&self) -> i32 {
        unpack(self.0.load(Ordering::Relaxed)).0
    }

    /// How many bytes went to `partition` since it was picked, of `total` ever. None if another caller has moved on.
    pub fn bytes(&self, partition: i32, total: u64) -> Option<usize> {
        let (at, start) = unpack(self.0.load(Ordering::Relaxed));
        (at == partition).then(|| (total as u32).wrapping_sub(start) as usize)
    }

    /// Moves on from `partition` to `next`, unless another caller already did.
    pub fn leave(&self, partition: i32, next: i32, total: u64) {
        let seen = self.0.load(Ordering::Relaxed);
        if unpack(seen).0 == partition {
            let _ = self.0.compare_exchange(seen, pack(next, total), Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// One of the available partitions at random, another than `current` if there is one.
pub(super) fn pick(available: &[i32], current: Option<i32>, random: u32) -> i32 {
    let others = available.iter().filter(|&&partition| Some(partition) != current);
    let n = others.clone().count();
    if n == 0 {
        return current.or_else(|| available.first().copied()).unwrap_or(0);
    }
    others.copied().nth(random as usize % n).unwrap_or(0)
}

/// One of the available partitions at random: the one with most batches to send counts once, and one with so many fewer that
/// many times more (KIP-794).
pub(super) fn pick_by_load(available: &[i32], random: u32, unsent: impl Fn(i32) -> usize) -> Option<i32> {
    let unsent: Vec<u64> = available.iter().map(|&partition| unsent(partition) as u64).collect();
    let most = unsent.iter().max()?;
    let odds = || unsent.iter().map(|of| most + 1 - of);
    let mut at = (u64::from(random) * odds().sum::<u64>()) >> u32::BITS;
    for (partition, odds) in available.iter().zip(odds()) {
        match at.checked_sub(odds) {
            Some(left) => at = left,
            None => return Some(*partition),
        }
    }
    None
}

fn pack(partition: i32, total: u64) -> u64 {
    u64::from(partition.cast_unsigned()) << 32 | (total & u64::from(u32::MAX))
}

fn unpack(word: u64) -> (i32, u32) {
    (((word >> 32) as u32).cast_signed(), word as u32)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::types::Topic;

    #[test]
    fn what_a_record_says_comes_first() {
        let key = b"21".as_slice();
        let cases = [
            (Some(3), None, Choice::Fixed(3)),
            (Some(3), Some(key), Choice::Fixed(3)),
            (None, None, Choice::Any),
            (None, Some(key), Choice::Fixed(partition_for_key(key, 6))),
        ];
        for (named, key, want) in cases {
            let topic = Topic::from("t");
            let record = ProducerRecord { partition: named, key, ..ProducerRecord::new(&topic, b"") };
            assert_eq!(choose(&Partitioner::default(), &record, 6), want, "{named:?} {key:?}");
        }
    }

    #[test]
    fn hashes_are_those_of_everybody_else() {
        assert_eq!((crc32(b""), crc32(b"123456789")), (0, 0xcbf4_3926));
        assert_eq!((fnv1a(b"kafka"), fnv1a(b"giberish123456789")), (0x0d33_c4e1, 0x77a5_8295));
        assert_eq!(fnv1a(b""), 0x7ee3_623b);
    }

    #[test]
    fn rules_differ_in_keys_and_in_what_has_none() {
        let topic = Topic::from("t");
        let by = |partitioner: &Partitioner, key: Option<&[u8]>| {
            choose(partitioner, &ProducerRecord { key, ..ProducerRecord::new(&topic, b"") }, 1000)
        };
        let (murmur, crc, fnv) = (partition_for_key(b"", 1000), 0, 0x7ee3_623b % 1000);
        let cases = [
            ("murmur2_random", None, Choice::Any),
            ("murmur2_random", Some(&b""[..]), Choice::Fixed(murmur)),
            ("murmur2", None, Choice::Fixed(murmur)),
            ("consistent_random", None, Choice::Any),
            ("consistent_random", Some(b""), Choice::Any),
            ("consistent_random", Some(b"123456789"), Choice::Fixed((0xcbf4_3926_u32 % 1000) as i32)),
            ("consistent", None, Choice::Fixed(crc)),
            ("fnv1a_random", None, Choice::Any),
            ("fnv1a_random", Some(b""), Choice::Fixed(fnv)),
            ("fnv1a", None, Choice::Fixed(fnv)),
            ("random", Some(b"21"), Choice::Any),
        ];
        for (name, key, want) in cases {
            let partitioner = Partitioner::from_name(name).unwrap();
            assert_eq!((by(&partitioner, key), format!("{partitioner:?}").as_str()), (want, name), "{key:?}");
        }
        let odd = Partitioner::custom(|record, partitions| record.key.map(|key| key.len() as i32 % partitions));
        assert_eq!((by(&odd, Some(b"abc")), by(&odd, None)), (Choice::Fixed(3), Choice::Any));
        assert!(Partitioner::from_name("sticky").is_none());
    }

    #[test]
    fn sticky_counts_its_own_bytes_and_is_left_once() {
        let near_wrap = u64::from(u32::MAX) - 50;
        let sticky = Sticky::new(2, near_wrap);
        assert_eq!(sticky.bytes(2, near_wrap + 100), Some(100));
        assert_eq!(sticky.bytes(0, 999), None);
        sticky.leave(0, 4, 0);
        assert_eq!(sticky.partition(), 2, "only the present one can be left");
        sticky.leave(2, 5, 7);
        assert_eq!((sticky.partition(), sticky.bytes(5, 17)), (5, Some(10)));
    }

    #[test]
    fn picks_only_what_is_available() {
        let cases: &[(&[i32], Option<i32>, u32, i32)] = &[
            (&[], None, 7, 0),
            (&[], Some(4), 7, 4),
            (&[4], Some(4), 7, 4),
            (&[4, 6], Some(4), 7, 6),
            (&[1, 2, 3], Some(2), 0, 1),
            (&[1, 2, 3], Some(2), 1, 3),
        ];
        for (available, current, random, want) in cases {
            assert_eq!(pick(available, *current, *random), *want, "{available:?} {current:?}");
        }
    }

    #[test]
    fn who_has_more_to_send_is_picked_less_often() {
        let check = |unsent: &[usize], want: &[usize]| {
            let (available, rolls): (Vec<i32>, usize) = ((0..unsent.len() as i32).collect(), want.iter().sum());
            let mut picked = vec![0; want.len()];
            for roll in 0..rolls {
                let random = ((roll as u64) << u32::BITS).div_ceil(rolls as u64) as u32;
                picked[pick_by_load(&available, random, |at| unsent[at as usize]).unwrap() as usize] += 1;
            }
            assert_eq!(picked, want, "{unsent:?}");
        };
        check(&[7], &[3]);
        check(&[0, 0, 0], &[2, 2, 2]);
        check(&[5, 0, 2], &[1, 6, 4]);
        check(&[0, 9], &[10, 1]);
        assert_eq!(pick_by_load(&[], 7, |_| 0), None);
    }
}
