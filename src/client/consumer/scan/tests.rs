use bytes::BytesMut;

use super::*;
use crate::protocol::batch::{BatchBuilder, Compression, Marker, ProducerStamp};

const RULES: Rules = Rules { check_crcs: true, unpacked_bytes_max: 1 << 20, whole: false };

/// A batch in words: `5+3` has three records from offset 5 on, `5+3e7` of leader epoch 7, `5+3p9` of a transaction of
/// producer 9; `8a9` and `8c9` end its transaction.
fn batch(word: &str) -> BytesMut {
    let number = |text: &str| text.parse::<i64>().expect("a number");
    let marker = |kind: char| word.split_once(kind).filter(|_| !word.contains('+'));
    let (offset, epoch, mut bytes) = if let Some((offset, producer)) = marker('a') {
        (number(offset), 1, end_of_transaction(ControlType::Abort, number(producer)))
    } else if let Some((offset, producer)) = marker('c') {
        (number(offset), 1, end_of_transaction(ControlType::Commit, number(producer)))
    } else {
        let (offset, rest) = word.split_once('+').expect("an offset and a count");
        let (rest, producer) = rest.split_once('p').map_or((rest, None), |(rest, id)| (rest, Some(number(id))));
        let (count, epoch) = rest.split_once('e').map_or((rest, 1), |(rest, epoch)| (rest, number(epoch)));
        (number(offset), epoch as i32, records(number(count), producer, Compression::None))
    };
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

fn end_of_transaction(control_type: ControlType, producer_id: i64) -> BytesMut {
    let marker = Marker { control_type, producer_id, producer_epoch: 0, coordinator_epoch: 0, timestamp_ms: 0 };
    marker.batch().expect("a marker")
}

fn records(count: i64, producer: Option<i64>, compression: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(compression);
    for n in 0..count {
        builder.push(n, None, Some(&[b'x'; 50]), &[]).expect("fits");
    }
    let mut batch = builder.finish().expect("a batch");
    if let Some(producer_id) = producer {
        batch.stamp_transactional(ProducerStamp { producer_id, producer_epoch: 0, base_sequence: 0 });
    }
    BytesMut::from(&batch.bytes()[..])
}

fn set(words: &str) -> Bytes {
    words.split(' ').flat_map(batch).collect()
}

fn aborted(producer_id: i64, first_offset: Offset) -> AbortedTransaction {
    AbortedTransaction { producer_id, first_offset }
}

/// `0..8e1: 5 6 7`: a chunk that covers 0 to 8 under epoch 1, and the offsets of its records.
fn show(chunk: &Chunk) -> String {
    let offsets =
        chunk.batches.iter().flat_map(|records| records.iter().map(|record| record.expect("readable").offset));
    let offsets: Vec<String> =
        offsets.filter(|offset| *offset >= chunk.start).map(|offset| offset.to_string()).collect();
    assert_eq!(chunk.records, offsets.len());
    assert!(chunk.records == 0 || chunk.last.to_string() == offsets[offsets.len() - 1]);
    format!("{}..{}e{}: {}", chunk.start, chunk.end.offset, chunk.end.leader_epoch.unwrap_or(-1), offsets.join(" "))
}

fn check(words: &str, position: Offset, gone: &[AbortedTransaction], expect: &[&str]) {
    let record_set = set(words);
    let (chunks, broken) = scan(record_set.clone(), position, gone.to_vec(), RULES);
    let said: Vec<String> = chunks.iter().map(show).collect();
    assert_eq!((said.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), broken), (expect, None), "{words}");
    assert_eq!(end(&record_set, position), chunks.last().map(|chunk| chunk.end), "{words}: by the headers alone");
}

#[test]
fn chunks_cover_all_from_the_position_on() {
    check("0+3 3+2", 0, &[], &["0..5e1: 0 1 2 3 4"]);
    check("0+3 3+2", 2, &[], &["2..5e1: 2 3 4"]);
    check("0+3 3+2", 5, &[], &[]);
    // The log was compacted: offsets 3 to 6 are gone, and the reader stood in the hole.
    check("0+3 7+2", 4, &[], &["4..9e1: 7 8"]);
    check("0+2e4 2+1e4 3+2e5", 0, &[], &["0..3e4: 0 1 2", "3..5e5: 3 4"]);
}

#[test]
fn control_batches_and_aborted_transactions_take_offsets_only() {
    check("0+2 2c9", 0, &[], &["0..3e1: 0 1"]);
    check("2c9", 2, &[], &["2..3e1: "]);
    check("0+2p9 2a9 3+1p9 4c9", 0, &[aborted(9, 0)], &["0..5e1: 3"]);
    check("0+2p9 2+2p8 4a9 5c8", 0, &[aborted(9, 0)], &["0..6e1: 2 3"]);
    // Twice the same producer, and one that is aborted further on.
    check("0+1p9 1a9 2+1p9 3a9 4+1p9", 0, &[aborted(9, 2), aborted(9, 0)], &["0..5e1: 4"]);
    // Plain records of the same time are nobody's transaction.
    check("0+1p9 1+1 2a9", 0, &[aborted(9, 0)], &["0..3e1: 1"]);
    // Whoever reads uncommitted records is told of none.
    check("0+2p9 2a9", 0, &[], &["0..3e1: 0 1"]);
}

#[test]
fn a_batch_that_is_cut_off_comes_again() {
    let whole = set("0+3 3+2");
    for cut in whole.len() - batch("3+2").len()..whole.len() {
        let part = whole.slice(..cut);
        let (chunks, broken) = scan(part.clone(), 0, Vec::new(), RULES);
        assert_eq!((chunks.iter().map(show).collect::<Vec<_>>(), broken), (vec!["0..3e1: 0 1 2".to_owned()], None));
        assert_eq!(end(&part, 0).map(|end| end.offset), Some(3));
    }
}

#[test]
fn what_is_broken_ends_it_and_says_what_is_lost() {
    let damaged = |at: usize, words: &str, rules: Rules, chunks: usize, lost: Range<Offset>| {
        let mut bytes = BytesMut::from(&set(words)[..]);
        bytes[at] ^= 0x40;
        let (good, broken) = scan(bytes.freeze(), 0, Vec::new(), rules);
        assert_eq!((good.len(), broken.map(|broken| broken.offsets)), (chunks, Some(lost)), "{words}, byte {at}");
    };
    let (first, unchecked) = (batch("0+3").len(), Rules { check_crcs: false, ..RULES });
    damaged(first + 70, "0+3 3+2 5+1", RULES, 1, 3..5);
    damaged(70, "0+3 3+2", RULES, 0, 0..3);
    // Without checksums, a length that leads out of the batch is found all the same.
    damaged(61, "0+3 3+2", unchecked, 0, 0..3);
    // A length that reaches beyond what a broker gives whole, a format that is not read.
    damaged(8, "0+3 3+2", Rules { whole: true, ..RULES }, 0, 0..3);
    damaged(first + 16, "0+3 3+2", RULES, 1, 3..4);
}

#[test]
fn no_batch_unpacks_into_more_than_is_allowed() {
    let packed = records(5000, None, Compression::Gzip).freeze();
    assert!(packed.len() < 50_000);
    let (chunks, broken) = scan(packed.clone(), 0, Vec::new(), Rules { unpacked_bytes_max: 100_000, ..RULES });
    assert!(chunks.is_empty());
    let kind = broken.map(Broken::kind);
    assert!(matches!(kind, Some(ErrorKind::Oversized { offset: 0, limit: 100_000 })), "{kind:?}");
    let (chunks, broken) = scan(packed, 0, Vec::new(), RULES);
    assert!(broken.is_none() && chunks[0].records == 5000 && chunks[0].bytes > 5000 * 50, "unpacked is what counts");
}
