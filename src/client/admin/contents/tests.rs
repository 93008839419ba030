use bytes::BytesMut;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::protocol::batch::{BatchBuilder, Compression, HEADER_BYTES, Marker, ProducerStamp};

use IsolationLevel::{ReadCommitted, ReadUncommitted};

impl Contents {
    /// Those of a log in words, from an offset on; see [`batch`].
    pub(crate) fn of(from: Offset, words: &str) -> Self {
        Self::read(from, set(words))
    }
}

/// A batch in words: `5+3` has three records from offset 5 on, `5+3p9` of a transaction of producer 9, `5+3/7` is what
/// compaction left of seven; `8a9` and `8c9` end the producer's transaction.
fn batch(word: &str) -> BytesMut {
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let (offset, mut bytes) = match (word.split_once('+'), word.split_once('a'), word.split_once('c')) {
        (Some((offset, rest)), ..) => {
            let (rest, producer) = rest.split_once('p').map_or((rest, None), |(rest, id)| (rest, Some(number(id))));
            let (count, length) = rest.split_once('/').unwrap_or((rest, rest));
            (offset, records(number(count), number(length), producer))
        }
        (_, Some((offset, id)), _) => (offset, end_of_transaction(ControlType::Abort, number(id))),
        (.., Some((offset, id))) => (offset, end_of_transaction(ControlType::Commit, number(id))),
        _ => panic!("{word}"),
    };
    bytes[..8].copy_from_slice(&number(offset).to_be_bytes());
    bytes
}

fn end_of_transaction(control_type: ControlType, producer_id: i64) -> BytesMut {
    let marker = Marker { control_type, producer_id, producer_epoch: 0, coordinator_epoch: 0, timestamp_ms: 0 };
    marker.batch().expect("a marker")
}

fn records(count: i64, length: i64, producer: Option<i64>) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    for n in 0..count.max(1) {
        builder.push(n, None, Some(b"x"), &[]).expect("fits");
    }
    let mut batch = builder.finish().expect("a batch");
    if let Some(producer_id) = producer {
        batch.stamp_transactional(ProducerStamp { producer_id, producer_epoch: 0, base_sequence: 0 });
    }
    let mut bytes = BytesMut::from(&batch.bytes()[..]);
    bytes[23..27].copy_from_slice(&(length as i32 - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&(count as i32).to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn set(words: &str) -> Bytes {
    words.split_whitespace().flat_map(batch).collect()
}

#[test]
fn which_offsets_hold_records() {
    let check = |words: &str, from, end, seen: Offset, records, committed, first: Offset| {
        let contents = Contents::of(from, words);
        let all = from..end;
        assert_eq!(contents.seen, from..seen, "{words} from {from}");
        let counted = (contents.records(&all, ReadUncommitted), contents.records(&all, ReadCommitted));
        assert_eq!(counted, (records, committed), "{words} from {from} to {end}");
        assert_eq!(contents.first_record(from, ReadUncommitted), first, "{words} from {from}");
        assert_eq!(contents.aborted(&all), records - committed, "{words} from {from}");
    };
    // A committed transaction, read up to its last record.
    check("0+3p9 3c9", 3, 4, 4, 0, 0, 4);
    check("0+3p9 3c9", 1, 4, 4, 2, 2, 1);
    // One more record comes, of somebody else; and where that was not seen.
    check("3c9 4+1", 3, 5, 5, 1, 1, 4);
    check("3c9", 3, 5, 4, 1, 1, 4);
    // An aborted one: whoever reads all has its records before it.
    check("3c9 4+2p9 6a9", 3, 7, 7, 2, 0, 4);
    check("0+4p9 4+2p8 6a9 7c8", 2, 8, 8, 4, 2, 2);
    // How it ends is not known yet.
    check("4+2p9", 4, 6, 6, 2, 2, 4);
    // What compaction left: a hole, some of a batch, none of a batch.
    check("0+2 7c9", 2, 8, 8, 0, 0, 8);
    check("0+2/9 9+0/4 13+1", 0, 14, 14, 3, 3, 0);
    check("0+2/9 9c9", 8, 10, 10, 1, 1, 8);
    // What was written since the end was asked for is beyond it.
    check("3c9 4+5", 3, 4, 9, 0, 0, 4);
    // Nothing was seen.
    check("", 3, 9, 3, 6, 6, 3);
    check("0+3", 3, 9, 3, 6, 6, 3);
}

#[test]
fn what_cannot_be_believed_was_not_seen() {
    let check = |seen: Offset, spoil: fn(&mut BytesMut)| {
        let mut bytes = BytesMut::from(&set("3c9 4c8 5c7")[..]);
        spoil(&mut bytes);
        assert_eq!(Contents::read(3, bytes.freeze()).seen, 3..seen);
    };
    const MARKER: usize = 78;
    check(6, |_| {});
    // Cut off: a head that is whole is enough, and says what it is.
    check(6, |bytes| bytes.truncate(2 * MARKER + HEADER_BYTES));
    check(5, |bytes| bytes.truncate(2 * MARKER + HEADER_BYTES - 1));
    check(3, |bytes| bytes.truncate(10));
    // A checksum, an old format, a length, a batch that goes back.
    check(4, |bytes| bytes[MARKER + 70] ^= 1);
    check(4, |bytes| bytes[MARKER + 16] = 1);
    check(4, |bytes| bytes[MARKER + 8] = 0x80);
    check(5, |bytes| bytes[2 * MARKER + 7] = 1);
}

/// A log of which it is known what every offset holds.
#[derive(Default)]
struct Log {
    words: String,
    /// Of each offset whether it holds a record, and whether that was aborted.
    offsets: Vec<Option<bool>>,
    is_compacted: bool,
}

fn log(random: &mut SmallRng) -> Log {
    let mut log = Log::default();
    let mut open: HashMap<i64, Vec<usize>> = HashMap::new();
    for _ in 0..random.random_range(1..12) {
        let (at, producer) = (log.offsets.len(), random.random_range(0..3));
        match random.random_range(0..6) {
            0 if open.contains_key(&producer) => {
                let aborts = random.random_bool(0.5);
                for offset in open.remove(&producer).unwrap_or_default() {
                    log.offsets[offset] = Some(aborts);
                }
                log.words += &format!(" {at}{}{producer}", if aborts { 'a' } else { 'c' });
                log.offsets.push(None);
            }
            1 => log.offsets.extend(vec![None; random.random_range(1..4)]),
            2 => {
                log.is_compacted = true;
                let length = random.random_range(2..6);
                let count = random.random_range(0..length);
                log.words += &format!(" {at}+{count}/{length}");
                log.offsets.extend((0..length).map(|n| (n < count).then_some(false)));
            }
            3 | 4 => {
                let count = random.random_range(1..5);
                log.words += &format!(" {at}+{count}p{producer}");
                open.entry(producer).or_default().extend(at..at + count);
                log.offsets.extend(vec![Some(false); count]);
            }
            _ => {
                let count = random.random_range(1..5);
                log.words += &format!(" {at}+{count}");
                log.offsets.extend(vec![Some(false); count]);
            }
        }
    }
    log
}

/// Never fewer than there are, nothing only where nothing is, and as many as there are where all was seen.
#[test]
fn records_are_never_missed_in_20_000_logs() {
    let mut random = SmallRng::seed_from_u64(11);
    let (mut none, mut exact) = (0, 0);
    for case in 0..20_000 {
        let log = log(&mut random);
        let end = log.offsets.len();
        let from = random.random_range(0..=end);
        let whole = set(&log.words);
        let cut = if random.random_bool(0.5) { whole.len() } else { random.random_range(0..=whole.len()) };
        let contents = Contents::read(from as Offset, whole.slice(..cut));
        let position = random.random_range(from..=end);
        for (isolation, reads_aborted) in [(ReadUncommitted, true), (ReadCommitted, false)] {
            let is_read = |it: &Option<bool>| it.is_some_and(|is_aborted| reads_aborted || !is_aborted);
            let truth = log.offsets[position..].iter().filter(|it| is_read(it)).count() as u64;
            let said = contents.records(&(position as Offset..end as Offset), isolation);
            let what = format!("case {case}: {} from {from}, cut at {cut}, at {position}: {contents:?}", log.words);
            assert!(said >= truth, "{what}: {said} instead of {truth}");
            let first = log.offsets[position..].iter().position(is_read).map_or(end, |at| position + at);
            assert!(contents.first_record(position as Offset, isolation) <= first as Offset, "{what}");
            if contents.seen.end >= end as Offset && cut == whole.len() && !log.is_compacted {
                assert_eq!(said, truth, "{what}");
                assert_eq!(contents.first_record(position as Offset, isolation), first as Offset, "{what}");
                exact += 1;
            }
            none += u32::from(said == 0 && position < end);
        }
    }
    assert!(none > 500 && exact > 5_000, "{none} {exact}");
}
