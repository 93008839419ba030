//! The table of targets.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use highwater::client::frames::Frames;
use highwater::config::Config;
use highwater::devbroker::inbox::Inbox;
use highwater::protocol::api::{
    Request, Response, decode_request_header, decode_response_header, encode_request_frame, encode_response_frame,
};
use highwater::protocol::batch::{batches, produced};
use highwater::protocol::compression::Compression;
use highwater::protocol::group::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, decode};
use highwater::protocol::message::LARGEST_RATIO;
use highwater::protocol::sasl::scram::{ClientFirst, Credential, Greeting, Hash};
use highwater::protocol::sasl::{oauthbearer, plain};
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Runtime};

use super::tape::{MORE_MAX, Tape};
use super::{Target, UNPACKED_MAX, corpus};

/// What a message may take: its largest item for its smallest bytes, twice while an array grows, and as much again for the
/// arrays that room was made for and that prove to be cut off.
const MESSAGE_EACH: usize = 2 * LARGEST_RATIO + 8;
/// Of what is unpacked, twice while it grows; and what a codec needs before the first byte.
const UNPACKED: usize = 2 * UNPACKED_MAX;

/// The largest frame that is taken, as client and dev broker have it, more or less.
const LONGEST: usize = 128 << 20;
/// A client makes room for an answer up to this size at once, and else for so much for each byte that has come.
const TRUSTED: usize = 1 << 20;
const PROOF: usize = 8;
/// What came of a large answer is held besides, twice while it grows, and then copied.
const ANSWER_EACH: usize = PROOF + 4;
/// A buffer that has twice the room of what came, up to three times while it grows.
const REQUEST_EACH: usize = 8;
/// The steps of a read, and a runtime.
const READING: usize = 512 << 10;

const fn codec(name: &'static str, run: fn(&[u8]), seeds: fn() -> Vec<Bytes>, besides: usize) -> Target {
    Target { name, run, seeds, bytes_each: 8, bytes_besides: UNPACKED + besides }
}

pub const ALL: &[Target] = &[
    Target { name: "requests", run: request, seeds: corpus::requests, bytes_each: MESSAGE_EACH, bytes_besides: 1024 },
    Target {
        name: "responses",
        run: response,
        seeds: corpus::responses,
        bytes_each: MESSAGE_EACH,
        bytes_besides: 1024,
    },
    Target { name: "headers", run: header, seeds: corpus::request_headers, bytes_each: 4, bytes_besides: 1024 },
    Target {
        name: "batches",
        run: record_set,
        seeds: corpus::record_sets,
        bytes_each: 8,
        bytes_besides: UNPACKED + LARGEST_CODEC,
    },
    codec("gzip", |bytes| unpack(Compression::Gzip, bytes), || corpus::packed(Compression::Gzip), GZIP),
    codec("snappy", |bytes| unpack(Compression::Snappy, bytes), || corpus::packed(Compression::Snappy), 1024),
    codec("lz4", |bytes| unpack(Compression::Lz4, bytes), || corpus::packed(Compression::Lz4), LZ4),
    codec("zstd", |bytes| unpack(Compression::Zstd, bytes), || corpus::packed(Compression::Zstd), ZSTD),
    Target { name: "group", run: group, seeds: corpus::group_words, bytes_each: MESSAGE_EACH, bytes_besides: 1024 },
    Target { name: "sasl", run: sasl, seeds: corpus::sasl_words, bytes_each: 16, bytes_besides: 8 << 10 },
    Target {
        name: "answer-frames",
        run: answer_frames,
        seeds: corpus::streams,
        bytes_each: ANSWER_EACH,
        bytes_besides: TRUSTED + ANSWER_EACH * MORE_MAX + READING,
    },
    Target {
        name: "request-frames",
        run: request_frames,
        seeds: corpus::streams,
        bytes_each: REQUEST_EACH,
        bytes_besides: REQUEST_EACH * MORE_MAX + READING,
    },
    Target { name: "settings", run: settings, seeds: corpus::settings, bytes_each: 2048, bytes_besides: 256 << 10 },
];

/// The window of deflate, and its tables.
const GZIP: usize = 128 << 10;
/// Nothing but what it unpacks to.
const LZ4: usize = 16 << 10;
/// A window, and tables.
const ZSTD: usize = 4 << 20;
const LARGEST_CODEC: usize = ZSTD;

/// Key and version, then a body.
fn keyed(bytes: &[u8]) -> Option<(i16, i16, Bytes)> {
    let (key, rest) = bytes.split_first_chunk()?;
    let (version, body) = rest.split_first_chunk()?;
    Some((i16::from_be_bytes(*key), i16::from_be_bytes(*version), Bytes::copy_from_slice(body)))
}

/// What can be read can be written, or the error says why not.
fn request(bytes: &[u8]) {
    let Some((key, version, body)) = keyed(bytes) else { return };
    if let Ok(request) = Request::decode(key, version, body) {
        let mut out = BytesMut::new();
        let _ = black_box(encode_request_frame(1, version, None, &request, &mut out));
    }
}

fn response(bytes: &[u8]) {
    let Some((key, version, body)) = keyed(bytes) else { return };
    if let Ok(response) = Response::decode(key, version, body) {
        let mut out = BytesMut::new();
        let _ = black_box(encode_response_frame(1, version, &response, &mut out));
    }
}

fn header(bytes: &[u8]) {
    let _ = black_box(decode_request_header(&mut Bytes::copy_from_slice(bytes)));
    if let Some((key, version, mut rest)) = keyed(bytes) {
        let _ = black_box(decode_response_header(key, version, &mut rest));
    }
}

/// As a consumer reads a record set, and as a broker checks one. The checksum is passed over: it is no defence.
fn record_set(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    for batch in batches(bytes.clone()).map_while(Result::ok) {
        let _ = black_box((batch.verify_crc(), batch.marker()));
        let Ok(records) = batch.records(UNPACKED_MAX) else { continue };
        for record in records.iter().map_while(Result::ok) {
            black_box(record.headers().count());
        }
    }
    let _ = black_box(produced(bytes, UNPACKED_MAX));
}

fn unpack(codec: Compression, bytes: &[u8]) {
    if let Ok(unpacked) = codec.decompress(&Bytes::copy_from_slice(bytes), UNPACKED_MAX) {
        assert!(unpacked.len() <= UNPACKED_MAX, "{codec} unpacked {} bytes", unpacked.len());
    }
}

fn group(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = black_box(decode::<ConsumerProtocolSubscription>(bytes.clone()));
    let _ = black_box(decode::<ConsumerProtocolAssignment>(bytes));
}

/// Every word of every exchange, heard by everybody who could hear it.
fn sasl(bytes: &[u8]) {
    let _ = black_box((plain::parse(bytes), oauthbearer::parse(bytes)));
    let credential = Credential::new(Hash::Sha256, "secret", vec![1], 1);
    if let Ok(greeting) = Greeting::parse(bytes) {
        black_box(greeting.challenge(credential.clone(), "more"));
    }
    if let Ok(greeting) = Greeting::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") {
        let (_, challenge) = greeting.challenge(credential, "%hv");
        let _ = black_box(challenge.judge(bytes));
    }
    // More turns are lawful, and slow by design: what matters here is how they are read.
    let slow = bytes.windows(3).any(|word| word.starts_with(b"i=") && !bytes.ends_with(b"i=4096"));
    let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
    if let Ok(first) = ClientFirst::new(Hash::Sha256, "user", nonce).map_err(drop)
        && !slow
    {
        let _ = black_box(first.answer(bytes, "secret").map(|(_, last)| last.check(bytes)));
    }
}

/// What reads streams waits now and then, and the dev broker not for ever.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// As rskafka's messenger reads what the client lets through: with room for all of an answer once its length is told.
fn answer_frames(bytes: &[u8]) {
    let came = Cell::new(0);
    let mut frames = Frames::new(Tape::new(bytes, &came), LONGEST);
    RUNTIME.block_on(async {
        while let Ok(length) = frames.read_u32().await {
            let (length, came) = (length as usize, came.get());
            assert!(length <= TRUSTED.max(PROOF * came), "room for {length} bytes when {came} had come");
            let mut answer = vec![0; length];
            if black_box(frames.read_exact(&mut answer).await).is_err() {
                break;
            }
        }
    });
}

/// As the dev broker reads, but that every request is worth another.
fn request_frames(bytes: &[u8]) {
    const PATIENCE: Duration = Duration::from_secs(600);
    let came = Cell::new(0);
    let (mut tape, mut inbox) = (Tape::new(bytes, &came), Inbox::default());
    RUNTIME.block_on(async {
        while let Ok(Some(frame)) = inbox.frame(&mut tape, LONGEST, PATIENCE).await {
            assert!(frame.len() <= came.get(), "a frame of {} bytes when {} had come", frame.len(), came.get());
        }
    });
}

fn settings(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = black_box(toml::from_str::<Config>(text).map(|config| config.check().is_ok()));
    }
}
