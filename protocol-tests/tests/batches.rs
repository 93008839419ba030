//! Record sets that other clients wrote and Kafka stored, read by us; `vectors/batches/` says at the head of each how it
//! came to be. All hold the same twenty records.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use highwater::protocol::batch::{ControlType, RecordBatch, batches};
use highwater::protocol::compression::Compression;
use protocol_tests::Outcome;

const RECORDS: i64 = 20;
const FIRST_TIME_MS: i64 = 1_700_000_000_000;
const LIMIT: usize = 1 << 20;

fn vector(name: &str) -> Outcome<Bytes> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/batches").join(name).with_extension("hex");
    let text = fs::read_to_string(file)?;
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16);
    Ok((0..digits.len()).step_by(2).map(byte).collect::<Result<Vec<_>, _>>()?.into())
}

/// Whether a batch's twenty records are those that every writer was given; `time_ms` is that of a record by its number.
fn check_records(name: &str, batch: &RecordBatch, time_ms: impl Fn(i64) -> i64) -> Outcome<()> {
    batch.verify_crc()?;
    let records = batch.records(LIMIT)?;
    let mut count = 0;
    for (i, record) in (0..).zip(&records) {
        let record = record?;
        assert_eq!(record.offset, batch.base_offset + i, "{name}");
        assert_eq!(record.timestamp_ms, time_ms(i), "{name}");
        assert_eq!(record.key, Some(format!("k{i}").as_bytes()), "{name}");
        assert_eq!(record.value, Some(format!("value {i} ").repeat(8).as_bytes()), "{name}");
        let headers: Vec<_> = record.headers().collect();
        assert_eq!(headers, [(&b"a"[..], Some(&b"1"[..])), (&b"a"[..], Some(&b"2"[..]))], "{name}");
        count += 1;
    }
    assert_eq!((count, batch.count, batch.last_offset_delta), (RECORDS, 20, 19), "{name}");
    Ok(())
}

fn only(name: &str) -> Outcome<RecordBatch> {
    let mut walk = batches(vector(name)?);
    let batch = walk.next().ok_or("no batch")??;
    assert!(walk.next().is_none() && walk.rest().is_empty(), "{name}");
    Ok(batch)
}

#[test]
fn what_other_clients_packed_is_read() -> Outcome<()> {
    for codec in Compression::ALL {
        for (client, idempotent) in [("java", true), ("librdkafka", true), ("kafka-python", false)] {
            let name = format!("{client}-{codec}");
            let batch = only(&name)?;
            assert_eq!(batch.attributes.compression(), Ok(codec), "{name}");
            assert_eq!(batch.producer().map(|stamp| stamp.base_sequence), idempotent.then_some(0), "{name}");
            // The console producer takes no timestamps: each record has the time at which its line was read.
            if client == "java" {
                let times: Vec<_> = batch.records(LIMIT)?.iter().flatten().map(|it| it.timestamp_ms).collect();
                check_records(&name, &batch, |i| times[i as usize])?;
                assert_eq!(times.iter().max(), Some(&batch.max_timestamp_ms), "{name}");
            } else {
                check_records(&name, &batch, |i| FIRST_TIME_MS + 10 * i)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_time_of_appending_is_that_of_every_record() -> Outcome<()> {
    let batch = only("log-append-time")?;
    assert!(batch.attributes.is_log_append_time());
    assert_ne!(batch.base_timestamp_ms, batch.max_timestamp_ms);
    check_records("log-append-time", &batch, |_| batch.max_timestamp_ms)
}

#[test]
fn transactions_end_in_markers() -> Outcome<()> {
    let found = batches(vector("transactions")?).collect::<Result<Vec<_>, _>>()?;
    assert!(found.iter().all(|batch| batch.attributes.is_transactional() && batch.verify_crc().is_ok()));
    let ends: Vec<_> = found.iter().map(RecordBatch::control_type).collect();
    assert_eq!(ends, [None, Some(ControlType::Commit), None, Some(ControlType::Abort)]);
    let offsets: Vec<_> = found.iter().map(|batch| (batch.base_offset, batch.next_offset())).collect();
    assert_eq!(offsets, [(0, 20), (20, 21), (21, 41), (41, 42)]);
    for pair in found.chunks(2) {
        check_records("transactions", &pair[0], |i| FIRST_TIME_MS + 10 * i)?;
        let marker = pair[1].marker().ok_or("no marker")?;
        assert_eq!(Some(marker.producer_id), pair[0].producer().map(|stamp| stamp.producer_id));
        // Written again by us, it is the same batch but for its place.
        let again = marker.batch()?;
        let stored = pair[1].bytes();
        assert_eq!((again[8..12].as_ref(), &again[16..]), (&stored[8..12], &stored[16..]));
    }
    Ok(())
}
