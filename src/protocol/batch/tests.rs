use bytes::{Bytes, BytesMut};

use super::*;

type Fields<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a str, Option<&'a [u8]>)]);

const RECORDS: [Fields<'static>; 4] = [
    (Some(b"key"), Some(b"value"), &[]),
    (None, Some(b""), &[("twice", Some(b"1")), ("twice", None), ("", Some(b""))]),
    (Some(b""), None, &[]),
    (None, None, &[]),
];

fn batch(compression: Compression, records: &[Fields<'_>]) -> Batch {
    let mut builder = BatchBuilder::new(compression);
    for (i, (key, value, headers)) in records.iter().enumerate() {
        let before = builder.bytes();
        // Times may go back within a batch.
        builder.push(1_000 - i as i64 * 7, *key, *value, headers).unwrap();
        assert!(builder.bytes() - before <= BatchBuilder::estimate(*key, *value, headers));
    }
    builder.finish().unwrap()
}

fn only(record_set: &Bytes) -> RecordBatch {
    let mut walk = batches(record_set.clone());
    let batch = walk.next().expect("a batch").expect("a whole one");
    assert!(walk.next().is_none());
    batch
}

#[test]
fn what_is_written_is_read() {
    let many = RECORDS.repeat(25);
    for compression in Compression::ALL {
        let batch = only(batch(compression, &many).bytes());
        batch.verify_crc().unwrap();
        assert_eq!(batch.attributes.compression(), Ok(compression));
        assert_eq!((batch.count, batch.last_offset(), batch.next_offset(), batch.producer()), (100, 99, 100, None));
        assert_eq!((batch.base_timestamp_ms, batch.max_timestamp_ms), (1_000, 1_000));
        let records = batch.records(1 << 20).unwrap();
        let records: Vec<_> = records.iter().map(|record| record.unwrap()).collect();
        for (i, (record, (key, value, headers))) in records.iter().zip(&many).enumerate() {
            assert_eq!((record.offset, record.timestamp_ms), (i as i64, 1_000 - i as i64 * 7), "{compression}");
            assert_eq!((record.key, record.value), (*key, *value), "{compression}");
            let want: Vec<_> = headers.iter().map(|(key, value)| (key.as_bytes(), *value)).collect();
            assert_eq!(record.headers().collect::<Vec<_>>(), want, "{compression}");
        }
        assert_eq!(records.len(), many.len());
    }
}

#[test]
fn what_does_not_become_smaller_is_not_packed() {
    for compression in Compression::ALL {
        assert_eq!(batch(compression, &RECORDS).bytes(), batch(Compression::None, &RECORDS).bytes(), "{compression}");
    }
}

#[test]
fn a_record_is_passed_on_as_it_came() {
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"\xff\x00 not UTF-8", Some(b"1")), (b"", None)];
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push_raw(7, Some(b"k"), None, &headers).unwrap();
    let records = only(builder.finish().unwrap().bytes()).records(0).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!((record.timestamp_ms, record.key, record.value), (7, Some(&b"k"[..]), None));
    assert_eq!(record.headers().collect::<Vec<_>>(), headers);
}

#[test]
fn a_stamp_changes_the_numbers_and_keeps_the_records() {
    let mut batch = batch(Compression::Lz4, &RECORDS.repeat(25));
    let stamp = ProducerStamp { producer_id: 4_000_000_001, producer_epoch: 3, base_sequence: 17 };
    let sent = batch.bytes().clone();
    batch.stamp(Some(stamp));
    let (before, after) = (only(&sent), only(batch.bytes()));
    before.verify_crc().unwrap();
    after.verify_crc().unwrap();
    assert_eq!((before.producer(), after.producer()), (None, Some(stamp)));
    assert!(!after.attributes.is_transactional());
    batch.stamp_transactional(stamp);
    let within = only(batch.bytes());
    within.verify_crc().unwrap();
    assert_eq!((within.producer(), within.attributes.is_transactional()), (Some(stamp), true));
    assert_eq!(within.attributes.compression(), after.attributes.compression());
    batch.stamp(None);
    assert_eq!(batch.bytes(), &sent);
    assert_eq!(before.bytes()[HEADER_BYTES..], after.bytes()[HEADER_BYTES..]);
}

#[test]
fn a_place_in_the_log_keeps_the_crc_and_a_new_time_renews_it() {
    let produced_set = batch(Compression::None, &RECORDS).bytes().clone();
    let check = |log_append_time_ms, want_time| {
        let mut bytes = BytesMut::from(&produced_set[..]);
        assign(&mut bytes, Assignment { base_offset: 500, leader_epoch: 9, log_append_time_ms });
        let batch = only(&bytes.freeze());
        batch.verify_crc().unwrap();
        assert_eq!((batch.base_offset, batch.partition_leader_epoch), (500, 9));
        let records = batch.records(0).unwrap();
        let last = records.iter().last().unwrap().unwrap();
        assert_eq!((last.offset, last.timestamp_ms), (503, want_time));
    };
    check(None, 979);
    check(Some(123_456), 123_456);
}

#[test]
fn a_record_set_may_end_in_a_batch_that_was_cut_off() {
    let one = batch(Compression::None, &RECORDS).bytes().clone();
    let two = Bytes::from([&one[..], &one[..]].concat());
    for end in 0..=two.len() {
        let mut walk = batches(two.slice(..end));
        let whole = walk.by_ref().inspect(|batch| assert!(batch.is_ok())).count();
        assert_eq!((whole, walk.rest().len()), (end / one.len(), end % one.len()));
    }
}

#[test]
fn faults_are_named() {
    let good = batch(Compression::None, &RECORDS).bytes().clone();
    let check = |change: &dyn Fn(&mut Vec<u8>), want: &str| {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        let read = || -> Result<(), BatchError> {
            for batch in batches(Bytes::from(bytes)) {
                let batch = batch?;
                batch.verify_crc()?;
                batch.records(1 << 20)?.iter().try_for_each(|record| record.map(|_| ()))?;
            }
            Ok(())
        };
        assert_eq!(read().map_err(|error| error.to_string()), Err(want.to_owned()));
    };
    let resealed = |at: usize, byte: u8| {
        move |bytes: &mut Vec<u8>| {
            bytes[at] = byte;
            builder::seal(bytes);
        }
    };
    check(&|b| b[16] = 1, "batch at offset 0: message format v1 is not read (v2 came with Kafka 0.11)");
    check(&|b| b[8] = 0x80, &format!("batch at offset 0: length {} is impossible", i32::MIN + good.len() as i32 - 12));
    check(&|b| b[8..12].fill(0), "batch at offset 0: length 0 is impossible");
    check(
        &|b| b[22] = 5,
        &format!("batch at offset 0: CRC is {:08x}, expected {:08x}", crc_with(&good, 22, 5), crc(&good)),
    );
    check(&resealed(22, 5), "batch at offset 0: compression type 5 does not exist");
    check(&resealed(57, 0x7f), "batch at offset 0: 2130706436 records in 53 bytes");
    check(&resealed(23, 0x80), "batch at offset 0: last offset delta -2147483645 is negative");
    check(&resealed(60, 3), "batch at offset 0: record 3: the batch goes on after its last");
    check(&resealed(60, 5), "batch at offset 0: record 4: cut off");
    check(&resealed(61, 1), "batch at offset 0: record 0: negative length");
    check(&resealed(61, 0x7e), "batch at offset 0: record 0: longer than its batch");
    check(&resealed(26, 2), "batch at offset 0: record 3: offset outside its batch");
}

fn crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[21..])
}

fn crc_with(batch: &[u8], at: usize, byte: u8) -> u32 {
    let mut bytes = batch.to_vec();
    bytes[at] = byte;
    crc(&bytes)
}

#[test]
fn a_leader_refuses_what_is_wrong() {
    let good = batch(Compression::None, &RECORDS[..2]).bytes().clone();
    let check = |record_set: Bytes, want: Result<i32, &str>| {
        let got = produced(record_set, 1 << 20).map(|produced| produced.batch.count);
        assert_eq!(got.map_err(|error| error.to_string()), want.map_err(str::to_owned));
    };
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        builder::seal(&mut bytes);
        Bytes::from(bytes)
    };
    check(good.clone(), Ok(2));
    check(Bytes::new(), Err("the last batch is cut off"));
    check(good.slice(..good.len() - 1), Err("the last batch is cut off"));
    let twice = Bytes::from([&good[..], &good[..]].concat());
    check(twice, Err("2 batches for one partition: exactly one is allowed since Produce v3"));
    check(changed(22, 0x24), Err("control batches are written by brokers only"));
    check(changed(60, 3), Err("3 records, but the last offset is 1"));
    check(changed(43, 0), Err("producer 72057594037927935 with epoch -1 and sequence -1"));
}

#[test]
fn a_leader_sees_what_a_topic_may_object_to() {
    let mut builder = BatchBuilder::new(Compression::Lz4);
    for (time, key) in [(30, Some(&b"k"[..])), (10, None), (50, None), (50, Some(&b"k"[..]))] {
        builder.push(time, key, None, &[]).unwrap();
    }
    let record_set = builder.finish().unwrap().bytes().clone();
    let seen = produced(record_set, 1 << 20).unwrap().seen;
    assert_eq!(seen, Seen { keyless: Some(1), oldest_ms: (10, 1), newest_ms: (50, 2) });
}

#[test]
fn any_bytes_are_read_or_refused() {
    let good = Compression::ALL.map(|codec| batch(codec, &RECORDS.repeat(25)).bytes().clone());
    proptest::proptest!(|(codec in 0..good.len(), at: proptest::sample::Index, byte: u8, seal: bool)| {
        let mut bytes = good[codec].to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if seal && at >= 21 {
            builder::seal(&mut bytes);
        }
        for batch in batches(Bytes::from(bytes)).flatten() {
            if let Ok(records) = batch.records(1 << 16) {
                let bytes = records.bytes().len();
                records.iter().flatten().for_each(|record| assert!(record.headers().count() <= bytes));
            }
            let _ = batch.marker();
        }
    });
}

#[test]
fn any_records_come_back() {
    use proptest::prelude::*;
    type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);
    let field = || prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    let header = (prop::collection::vec(any::<u8>(), 0..70), field());
    let record = (any::<i64>(), field(), field(), prop::collection::vec(header, 0..4));
    proptest!(|(codec in 0..Compression::ALL.len(), records in prop::collection::vec(record, 1..40))| {
        let records: Vec<Owned> = records;
        let mut builder = BatchBuilder::new(Compression::ALL[codec]);
        for (timestamp_ms, key, value, headers) in &records {
            let headers: Vec<_> = headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
            builder.push_raw(*timestamp_ms, key.as_deref(), value.as_deref(), &headers).unwrap();
        }
        let read = only(builder.finish().unwrap().bytes()).records(1 << 20).unwrap();
        let owned = |record: Record<'_>| -> Owned {
            let headers = record.headers().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)));
            let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
            (record.timestamp_ms, key, value, headers.collect())
        };
        let read: Vec<Owned> = read.iter().map(|record| owned(record.unwrap())).collect();
        prop_assert_eq!(read, records);
    });
}
