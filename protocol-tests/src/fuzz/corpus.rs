//! Seeds: what the golden vectors hold, and what our own encoders write.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use highwater::protocol::api::{APIS, Request, Response, api};
use highwater::protocol::batch::BatchBuilder;
use highwater::protocol::compression::Compression;

/// The body of a request or a response in one version.
#[derive(Debug, Clone)]
pub struct Message {
    pub is_request: bool,
    pub key: i16,
    pub version: i16,
    pub body: Bytes,
}

impl Message {
    pub fn decode(&self, body: Bytes) -> bool {
        match self.is_request {
            true => Request::decode(self.key, self.version, body).is_ok(),
            false => Response::decode(self.key, self.version, body).is_ok(),
        }
    }

    /// As the targets for requests and responses take it: key and version before the body.
    pub fn bytes(&self) -> Bytes {
        [&self.key.to_be_bytes()[..], &self.version.to_be_bytes(), &self.body].concat().into()
    }
}

#[derive(serde::Deserialize)]
struct Line {
    r#type: String,
    key: i16,
    v: i16,
    hex: String,
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    hex.as_bytes().chunks_exact(2).map(|pair| Some((digit(&pair[0])? << 4 | digit(&pair[1])?) as u8)).collect()
}

/// Of every API we know, in every version and both directions: the shortest and the longest body among the golden vectors
/// that is not too long to be spoiled at every place.
pub fn messages() -> &'static [Message] {
    static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(|| {
        let mut text = String::new();
        let packed = &include_bytes!("../../vectors/kafka-4.4.jsonl.gz")[..];
        // A vector file that is broken has no messages, which the tests notice.
        let _ = GzDecoder::new(packed).read_to_string(&mut text);
        let mut found: BTreeMap<(bool, i16, i16), (Bytes, Bytes)> = BTreeMap::new();
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            let Some(body) = from_hex(&line.hex).map(Bytes::from) else { continue };
            let known = api(line.key).is_some_and(|row| row.versions.contains(&line.v));
            if !known || body.len() > 600 {
                continue;
            }
            let of = (line.r#type == "request", line.key, line.v);
            let (shortest, longest) = found.entry(of).or_insert_with(|| (body.clone(), body.clone()));
            if body.len() < shortest.len() {
                *shortest = body;
            } else if body.len() > longest.len() {
                *longest = body;
            }
        }
        let both = |((is_request, key, version), (shortest, longest))| {
            let message = move |body| Message { is_request, key, version, body };
            [message(shortest), message(longest)]
        };
        found.into_iter().flat_map(both).collect()
    });
    &MESSAGES
}

pub fn requests() -> Vec<Bytes> {
    messages().iter().filter(|message| message.is_request).map(Message::bytes).collect()
}

pub fn responses() -> Vec<Bytes> {
    messages().iter().filter(|message| !message.is_request).map(Message::bytes).collect()
}

/// Headers of requests in all versions of all APIs.
pub fn request_headers() -> Vec<Bytes> {
    let header = |key: i16, version: i16| {
        let mut bytes = [key.to_be_bytes(), version.to_be_bytes()].concat();
        bytes.extend_from_slice(&[0, 0, 0, 7, 0, 2, b'm', b'e', 2, 0, 1, 9, 1, 2, 0, 0]);
        Bytes::from(bytes)
    };
    APIS.iter().flat_map(|row| row.versions.clone().map(move |version| header(row.key, version))).collect()
}

/// What others have written, and what we write with each codec.
pub fn record_sets() -> Vec<Bytes> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/batches");
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sets: Vec<_> = files
        .filter_map(|file| {
            let text = std::fs::read_to_string(file.path()).ok()?;
            let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
            from_hex(&digits).map(Bytes::from)
        })
        .collect();
    sets.sort();
    sets.extend(Compression::ALL.into_iter().filter_map(|codec| {
        let mut builder = BatchBuilder::new(codec);
        for n in 0..30i64 {
            let headers = [("h", Some(&b"1"[..])), ("", None)];
            builder.push(1_000 + n, Some(b"key"), Some(b"the same value again and again"), &headers).ok()?;
        }
        builder.finish().ok().map(|batch| batch.bytes().clone())
    }));
    sets
}

/// Texts as a codec packs them.
pub fn packed(codec: Compression) -> Vec<Bytes> {
    let words = b"a record like any other, ".repeat(40);
    let noise: Vec<u8> = (0..300u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    // The last is a bomb: more than may come out of it.
    let texts = [&b""[..], b"x", &words, &noise, &vec![0; 2 * super::UNPACKED_MAX]].map(<[u8]>::to_vec);
    let pack = |text: Vec<u8>| {
        let mut out = BytesMut::new();
        codec.compress(&text, None, &mut out).ok().map(|()| out.freeze())
    };
    let mut packed: Vec<_> = texts.into_iter().filter_map(pack).collect();
    packed.retain(|bytes| bytes.len() < 20_000);
    packed.extend(greedy(codec).iter().filter_map(|hex| from_hex(hex)).map(Bytes::from));
    packed
}

/// Some bytes that ask for as much room as their codec knows: blocks of 4 MiB and of 8 MiB; a window of 128 MiB, and 32 MiB
/// of content.
fn greedy(codec: Compression) -> &'static [&'static str] {
    match codec {
        Compression::Lz4 => &["04224d186470b90500008068656c6c6f00000000", "02214c18050000805068656c6c6f"],
        Compression::Zstd => &["28b52ffd008829000068656c6c6f", "28b52ffda00000000229000068656c6c6f"],
        Compression::None | Compression::Gzip | Compression::Snappy => &[],
    }
}

/// Streams of frames, as a [`Tape`](super::tape::Tape) plays them.
pub fn streams() -> Vec<Bytes> {
    let stream = |piece: u8, more: u8, lengths: &[u32], written: usize| {
        let mut bytes = vec![piece, more];
        for length in lengths {
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.resize(bytes.len() + written.min(*length as usize), b'f');
        }
        Bytes::from(bytes)
    };
    vec![
        stream(1, 0, &[8, 9, 70, 8], 100),
        stream(7, 0, &[30; 8], 100),
        stream(255, 0, &[20, 900, 0, 20], 1_000),
        // One that comes whole, and two of which enough comes, or not enough, to be believed.
        stream(64, 255, &[20, 192 << 10], 20),
        stream(64, 255, &[20, 3 << 19], 20),
        stream(64, 255, &[20, 16 << 20], 20),
    ]
}

pub fn group_words() -> Vec<Bytes> {
    let words = [
        "000000000001000174ffffffff",
        "0001000000010001740000000400000007000000010001740000000100000002",
        "000300000001000174000000040000000700000001000174000000010000000200000007000472 61636b",
        "000000000001000174000000020000000000000001ffffffff",
    ];
    words.iter().filter_map(|hex| from_hex(&hex.replace(' ', ""))).map(Bytes::from).collect()
}

pub fn sasl_words() -> Vec<Bytes> {
    let words: [&[u8]; 9] = [
        b"\0alice\0secret",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"n,a=u=2Cser,n=u=2Cser,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hv,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        b"e=invalid-proof",
        b"n,,\x01auth=Bearer token\x01traceId=123\x01\x01",
        b"{\"status\":\"invalid_token\"}",
    ];
    words.iter().map(|word| Bytes::from_static(word)).collect()
}

pub fn settings() -> Vec<Bytes> {
    let texts: [&[u8]; 4] = [
        b"[gateway]\nlisten = \"127.0.0.1:8080\"\n[lag]\ninterval = \"10s\"\n",
        b"[pipeline]\ngroup_id = \"g\"\n[generator]\nrate = 5.0\n",
        b"a = [[[[[[1, 2], { b = 1 }]]]]]\n",
        b"x = 1979-05-27T07:32:00Z\ny = \"\"\"\\u00e9\"\"\"\n",
    ];
    texts.iter().map(|text| Bytes::from_static(text)).collect()
}
