//! What a record costs to write, to pack, to unpack and to read, on one core.
//!
//! `cargo bench -p protocol-tests --bench records`, with a name of a case, or a part of it, to run only that. Each case
//! is repeated for a while; the fastest of many rounds is printed, because whatever else the machine does only adds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use highwater::protocol::batch::{Batch, BatchBuilder, ProducerStamp, batches};
use highwater::protocol::compression::Compression;

const TIME_MS: i64 = 1_795_000_000_000;
const PER_CASE: Duration = Duration::from_millis(400);
const STAMP: ProducerStamp = ProducerStamp { producer_id: 4_711, producer_epoch: 0, base_sequence: 0 };

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    println!("{:<36} {:>10} {:>12} {:>8}", "case", "ns/record", "M records/s", "ratio");
    for (size, batch) in [("16 KiB", 16 << 10), ("1 MiB", 1 << 20)] {
        plain(&wanted, size, batch);
        packed(&wanted, size, batch);
    }
}

/// 100-byte values, no keys, no compression: what a record costs besides its bytes.
fn plain(wanted: &str, size: &str, batch_bytes: usize) {
    let value = [b'x'; 100];
    let count = batch_bytes / (value.len() + 8);
    let values = vec![&value[..]; count];
    let mut buffer = Some(BytesMut::with_capacity(batch_bytes + 1024));
    run(wanted, &format!("write 100 B, {size}"), count, None, || {
        let batch = write(Compression::None, buffer.take().unwrap_or_default(), &values);
        buffer = black_box(batch).into_buffer();
    });
    let mut batch = write(Compression::None, BytesMut::new(), &values);
    run(wanted, &format!("stamp 100 B, {size}"), count, None, || {
        batch.stamp(Some(black_box(STAMP)));
    });
    let set = batch.bytes().clone();
    run(wanted, &format!("check CRC 100 B, {size}"), count, None, || {
        let crcs = batches(set.clone()).filter(|batch| batch.as_ref().is_ok_and(|batch| batch.verify_crc().is_ok()));
        assert_eq!(black_box(crcs.count()), 1);
    });
    run(wanted, &format!("read 100 B, {size}"), count, None, || read(&set, count));
}

/// Records as programs write them: JSON that repeats its names, and some of its values.
fn packed(wanted: &str, size: &str, batch_bytes: usize) {
    let values: Vec<String> = (0..batch_bytes / 160).map(document).collect();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    for codec in Compression::ALL {
        let set = write(codec, BytesMut::new(), &values).bytes().clone();
        let plain = write(Compression::None, BytesMut::new(), &values).bytes().len();
        let ratio = plain as f64 / set.len() as f64;
        run(wanted, &format!("write {codec}, {size}"), values.len(), Some(ratio), || {
            black_box(write(codec, BytesMut::with_capacity(plain), &values));
        });
        run(wanted, &format!("read {codec}, {size}"), values.len(), None, || read(&set, values.len()));
    }
}

fn document(n: usize) -> String {
    let user = n.wrapping_mul(2_654_435_761) % 100_003;
    format!(
        r#"{{"user_id":"{user:08x}-61fc","app_version":"2.{}.0","device_type":"{}","ip":"10.{}.{}.{}","locale":"RU","timestamp":{}}}"#,
        user % 5,
        ["android", "iOS", "web"][user % 3],
        user % 251,
        user % 241,
        user % 239,
        1_795_000_000 + n
    )
}

fn write(codec: Compression, buffer: BytesMut, values: &[&[u8]]) -> Batch {
    let mut builder = BatchBuilder::with_buffer(codec, buffer);
    for value in values {
        builder.push(TIME_MS, None, Some(value), &[]).expect("room for the record");
    }
    builder.finish().expect("a batch")
}

fn read(set: &Bytes, want: usize) {
    let mut count = 0;
    let mut bytes = 0;
    for batch in batches(set.clone()) {
        let records = batch.and_then(|batch| batch.records(64 << 20)).expect("records");
        for record in &records {
            let record = record.expect("a record");
            bytes += record.value.map_or(0, <[u8]>::len);
            count += 1;
        }
    }
    assert_eq!(count, want);
    black_box(bytes);
}

fn run(wanted: &str, name: &str, records: usize, ratio: Option<f64>, mut case: impl FnMut()) {
    if !name.contains(wanted) {
        return;
    }
    let until = Instant::now() + PER_CASE;
    let mut best = Duration::MAX;
    while Instant::now() < until {
        let begin = Instant::now();
        case();
        best = best.min(begin.elapsed());
    }
    let ns = best.as_secs_f64() * 1e9 / records as f64;
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!("{name:<36} {ns:>10.1} {:>12.1} {ratio:>8}", 1e3 / ns);
}
