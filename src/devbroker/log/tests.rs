use std::path::Path;

use bytes::{Bytes, BytesMut};

use super::segment::HEADER;
use super::*;
use crate::protocol::batch::{Assignment, BatchBuilder, Compression, assign, batches};

/// A batch of `count` records as far as a log looks: a header with a CRC that holds, and a body of `body` bytes.
fn batch(base: Offset, count: i32, epoch: LeaderEpoch, max_timestamp: i64, body: usize) -> Bytes {
    let mut bytes = BytesMut::zeroed(HEADER + body);
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, &base.to_be_bytes());
    put(8, &((HEADER + body - 12) as i32).to_be_bytes());
    put(12, &epoch.to_be_bytes());
    put(16, &[2]);
    put(23, &(count - 1).to_be_bytes());
    put(35, &max_timestamp.to_be_bytes());
    put(57, &count.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

const SEGMENT: u64 = 10_000;
const ALL: ReadLimit = ReadLimit { max_bytes: usize::MAX / 2, before: Offset::MAX, at_least_one: true };

/// Twenty batches of 5 records and 1,000 bytes; epoch 0 up to offset 50, then epoch 2; batch n at time 100 n.
fn fill(log: &mut Log) {
    for n in 0..20 {
        let epoch = if n < 10 { 0 } else { 2 };
        log.append(batch(n * 5, 5, epoch, n * 100, 1000 - HEADER), SEGMENT).unwrap();
    }
    log.reveal(log.end());
    log.check();
}

/// The same log in memory and in files.
fn both(check: impl Fn(&str, Log)) {
    let directory = tempfile::tempdir().unwrap();
    check("memory", Log::in_memory());
    check("files", Log::in_directory(directory.path().to_owned()));
}

fn first_and_last(slice: Slice) -> Option<(Offset, Offset)> {
    let bytes = slice.read().unwrap();
    let first = Header::read(&bytes)?;
    let (mut at, mut last) = (0, first);
    while let Some(header) = Header::read(&bytes[at..]).filter(|header| at + header.size <= bytes.len()) {
        (at, last) = (at + header.size, header);
    }
    Some((first.base_offset, last.last_offset))
}

#[test]
fn reads_begin_with_the_batch_that_holds_the_offset() {
    both(|name, mut log| {
        fill(&mut log);
        assert_eq!((log.start(), log.end(), log.size()), (0, 100, 20_000), "{name}");
        let limit = |max_bytes, at_least_one| ReadLimit { max_bytes, before: Offset::MAX, at_least_one };
        let cases = [
            (0, ALL, Some((0, 49))), // one segment at a time
            (7, ALL, Some((5, 49))),
            (50, ALL, Some((50, 99))),
            (99, ALL, Some((95, 99))),
            (100, ALL, None),
            (0, limit(2500, false), Some((0, 9))),
            (0, limit(10, true), Some((0, 4))),
            (0, limit(10, false), None),
        ];
        for (offset, limit, expected) in cases {
            assert_eq!(first_and_last(log.read(offset, limit).unwrap()), expected, "{name}: {offset} {limit:?}");
        }
        assert_eq!(log.readable_bytes(7).unwrap(), 19_000, "{name}");
        assert_eq!(log.readable_bytes(100).unwrap(), 0, "{name}");
    });
}

#[test]
fn readers_see_nothing_before_it_is_published() {
    both(|name, mut log| {
        fill(&mut log);
        log.append(batch(100, 5, 2, 0, 939), SEGMENT).unwrap();
        log.append(batch(105, 5, 2, 0, 939), SEGMENT).unwrap();
        assert_eq!((log.high_watermark(), log.end()), (100, 110), "{name}");
        assert_eq!(first_and_last(log.read(100, ALL).unwrap()), None, "{name}");
        assert!(log.reveal(105), "{name}");
        assert!(!log.reveal(105), "{name}: no news");
        assert_eq!(first_and_last(log.read(100, ALL).unwrap()), Some((100, 104)), "{name}");
        log.check();
        log.cut_unseen().unwrap();
        log.check();
        assert_eq!(log.end(), 105, "{name}");
        log.append(batch(105, 1, 3, 0, 0), SEGMENT).unwrap();
        log.reveal(log.end());
        assert_eq!(first_and_last(log.read(104, ALL).unwrap()), Some((100, 105)), "{name}");
    });
}

#[test]
fn what_does_not_follow_the_end_is_refused() {
    both(|name, mut log| {
        fill(&mut log);
        for wrong in [batch(99, 1, 2, 0, 0), batch(101, 1, 2, 0, 0), Bytes::from_static(b"short")] {
            assert!(log.append(wrong, SEGMENT).is_err(), "{name}");
        }
        assert_eq!(log.end(), 100, "{name}");
    });
}

#[test]
fn times_and_epochs_lead_to_offsets() {
    both(|name, mut log| {
        fill(&mut log);
        let at = |time| log.batch_at_time(time, 0).unwrap().and_then(first_and_last).map(|(first, _)| first);
        assert_eq!(
            [at(-5), at(0), at(1), at(950), at(1900), at(1901)],
            [Some(0), Some(0), Some(5), Some(50), Some(95), None],
            "{name}"
        );
        assert_eq!(log.max_timestamp(), Some(1900), "{name}");
        let ends = [0, 1, 2, 3, 4].map(|epoch| log.epoch_end(epoch, 3));
        assert_eq!(ends, [Some((0, 50)), Some((0, 50)), Some((2, 100)), Some((3, 100)), None], "{name}");
        assert_eq!([log.epoch_of(0), log.epoch_of(49), log.epoch_of(50)], [Some(0), Some(0), Some(2)], "{name}");
    });
}

#[test]
fn the_start_moves_and_takes_whole_segments_with_it() {
    both(|name, mut log| {
        fill(&mut log);
        log.move_start(30).unwrap();
        log.check();
        assert_eq!((log.start(), log.size()), (30, 20_000), "{name}");
        assert_eq!(log.batch_at_time(0, 0).unwrap().and_then(first_and_last), Some((30, 34)), "{name}");
        log.move_start(60).unwrap();
        log.check();
        assert_eq!((log.start(), log.size()), (60, 10_000), "{name}");
        log.move_start(1000).unwrap();
        log.check();
        assert_eq!((log.start(), log.end()), (100, 100), "{name}");
        log.append(batch(100, 1, 2, 0, 0), SEGMENT).unwrap();
        log.reveal(log.end());
        assert_eq!(first_and_last(log.read(100, ALL).unwrap()), Some((100, 100)), "{name}");
    });
}

#[test]
fn retention_takes_whole_segments_but_never_the_last() {
    both(|name, mut log| {
        fill(&mut log);
        let cases = [
            (None, None, 0),
            (Some(15_000), None, 0),
            (Some(10_000), None, 50),
            (Some(0), None, 50),
            (None, Some(900), 0),
            (None, Some(901), 50),
            (None, Some(i64::MAX), 50),
        ];
        for (bytes, since, expected) in cases {
            assert_eq!(log.expired(bytes, since), expected, "{name}: {bytes:?} {since:?}");
        }
    });
}

fn reopened(directory: &Path) -> Recovered {
    let found = open(directory.to_owned(), 0, |_, _| ()).unwrap();
    found.log.check();
    found
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    fill(&mut Log::in_directory(directory.path().to_owned()));
    let mut seen = 0;
    let found = open(directory.path().to_owned(), 20, |_, _| seen += 1).unwrap();
    assert_eq!((seen, found.cut_bytes, found.log.start(), found.log.high_watermark()), (20, 0, 20, 100));
    assert_eq!(found.log.epoch_end(0, 9), Some((0, 50)));
    assert_eq!(first_and_last(found.log.read(72, ALL).unwrap()), Some((70, 99)));
    assert_eq!(found.log.batch_at_time(950, 0).unwrap().and_then(first_and_last), Some((50, 54)));
}

#[test]
fn a_damaged_tail_is_cut_and_the_log_goes_on() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage, Offset); 5] = [
        ("torn in a batch", |bytes| bytes.truncate(9_500), 95),
        ("torn in a header", |bytes| bytes.truncate(9_030), 95),
        ("a bit flipped", |bytes| bytes[9_700] ^= 1, 95),
        ("zeroes after the end", |bytes| bytes.extend([0; 5000]), 100),
        ("a length that lies", |bytes| bytes[9_008..9_012].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]), 95),
    ];
    for (name, damage, end) in cases {
        let directory = tempfile::tempdir().unwrap();
        fill(&mut Log::in_directory(directory.path().to_owned()));
        let path = directory.path().join("00000000000000000050.log");
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let mut found = reopened(directory.path());
        assert_eq!(found.log.end(), end, "{name}");
        assert!(found.cut_bytes > 0, "{name}");
        found.log.append(batch(end, 1, 3, 0, 0), SEGMENT).unwrap();
        assert_eq!(reopened(directory.path()).log.end(), end + 1, "{name}");
    }
}

#[test]
fn segments_behind_a_cut_are_put_aside_not_deleted() {
    let directory = tempfile::tempdir().unwrap();
    fill(&mut Log::in_directory(directory.path().to_owned()));
    let first = directory.path().join("00000000000000000000.log");
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..4_100]).unwrap();
    let found = reopened(directory.path());
    assert_eq!((found.log.end(), found.cut_bytes, found.strays.len()), (20, 100, 1));
    assert!(found.strays[0].exists());
    assert_eq!(reopened(directory.path()).log.end(), 20);
}

/// A batch of one record, at a time, as a client would send it.
fn keyed(base: Offset, key: &str, value: Option<&str>, timestamp_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(timestamp_ms, Some(key.as_bytes()), value.map(str::as_bytes), &[]).unwrap();
    let mut bytes = BytesMut::from(&builder.finish().unwrap().bytes()[..]);
    assign(&mut bytes, Assignment { base_offset: base, leader_epoch: 0, log_append_time_ms: None });
    bytes.freeze()
}

/// All records that can be read, as `offset:key`.
fn keys(log: &Log) -> String {
    let (mut keys, mut offset) = (Vec::new(), log.start());
    while offset < log.high_watermark() {
        for batch in batches(log.read(offset, ALL).unwrap().read().unwrap()) {
            let batch = batch.unwrap();
            offset = batch.next_offset();
            for record in &batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                keys.push(format!("{}:{}", record.offset, String::from_utf8_lossy(record.key.unwrap())));
            }
        }
    }
    keys.join(" ")
}

#[test]
fn a_compacted_log_has_no_holes_and_opens_again() {
    let pass = Pass { now_ms: 10_000, delete_retention_ms: 0, is_aborted: &|_, _| false };
    let rules = |min_dirty_per_mille| Rules { min_compaction_lag_ms: 0, min_dirty_per_mille };
    let directory = tempfile::tempdir().unwrap();
    let fill = |mut log: Log| {
        for (offset, key) in (0..).zip(["a", "b", "a", "a", "b", "c", "a"]) {
            log.roll(offset * 100, 150).unwrap();
            log.append(keyed(offset, key, Some("v"), offset * 100), SEGMENT).unwrap();
        }
        log.reveal(log.end());
        // Two records a segment: 0-1, 2-3, 4-5, and 6 is written to.
        assert_eq!(log.compact(&rules(1000), Offset::MAX, &pass).unwrap(), 0, "not all of it is new");
        assert_eq!(log.compact(&rules(0), 3, &pass).unwrap(), 0, "what is undecided stays");
        assert!(log.compact(&rules(0), Offset::MAX, &pass).unwrap() > 0);
        assert_eq!(log.compact(&rules(0), Offset::MAX, &pass).unwrap(), 0, "nothing is new");
        log.check();
        log
    };
    let want = "3:a 4:b 5:c 6:a";
    let mut log = fill(Log::in_memory());
    assert_eq!(keys(&log), want);
    log.append(keyed(7, "d", None, 700), SEGMENT).unwrap();
    log.reveal(8);
    assert_eq!(keys(&log), "3:a 4:b 5:c 6:a 7:d");

    assert_eq!(keys(&fill(Log::in_directory(directory.path().to_owned()))), want);
    let found = open(directory.path().to_owned(), 0, |_, _| ()).unwrap();
    found.log.check();
    assert_eq!((keys(&found.log).as_str(), found.cut_bytes, found.strays.len()), (want, 0, 0));
    assert_eq!((found.log.end(), found.log.high_watermark()), (7, 7));
}
