//! Every message against bytes that the descriptors of Kafka 4.4 dictate (`vectors/generate.py` made them), and every
//! decoder against bytes that nobody should send.
//!
//! A vector is the body of one request or response in one version. Decoded and encoded again it must be the same bytes:
//! a field that is missed, misread or defaulted wrongly shows as a difference.

#![allow(clippy::unwrap_used)] // A vector that cannot be read is a failed test.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use highwater::protocol::api::{self, APIS, Request, Response, api};
use highwater::protocol::message::{DecodeError, EncodeError, Str};

const CHECKED: usize = 5904;

/// What brokers and controllers say to each other, what only a share member says, delegation tokens,
/// changing quotas, and client telemetry: neither our client nor our dev broker speaks them.
#[rustfmt::skip]
const SKIPPED: &[&str] = &[
    "AddRaftVoter", "AllocateProducerIds", "AlterClientQuotas", "AlterPartition", "AlterReplicaLogDirs",
    "AssignReplicasToDirs", "BeginQuorumEpoch", "BrokerHeartbeat", "BrokerRegistration",
    "ControllerRegistration", "CreateDelegationToken", "DeleteShareGroupState",
    "DescribeDelegationToken", "DescribeQuorum", "EndQuorumEpoch", "Envelope",
    "ExpireDelegationToken", "FetchSnapshot", "GetTelemetrySubscriptions", "InitializeShareGroupState",
    "PushTelemetry", "ReadShareGroupState", "ReadShareGroupStateSummary", "RemoveRaftVoter", "RenewDelegationToken",
    "ShareAcknowledge", "ShareFetch", "StreamsGroupTopologyDescriptionUpdate",
    "UnregisterBroker", "UnregisterController", "UpdateFeatures", "UpdateRaftVoter", "Vote", "WriteShareGroupState",
];

#[derive(serde::Deserialize)]
struct Line {
    name: String,
    r#type: String,
    key: i16,
    v: i16,
    hex: String,
}

struct Vector {
    name: String,
    is_request: bool,
    key: i16,
    version: i16,
    body: Bytes,
}

static VECTORS: LazyLock<Vec<Vector>> = LazyLock::new(|| {
    let mut text = String::new();
    GzDecoder::new(&include_bytes!("../vectors/kafka-4.4.jsonl.gz")[..]).read_to_string(&mut text).unwrap();
    text.lines().map(vector).collect()
});

fn vector(line: &str) -> Vector {
    let Line { name, r#type, key, v, hex } = serde_json::from_str(line).unwrap();
    let is_request = r#type == "request";
    let name = name.strip_suffix(if is_request { "Request" } else { "Response" }).unwrap().to_owned();
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Vector { name, is_request, key, version: v, body: hex.as_bytes().chunks(2).map(byte).collect() }
}

impl Vector {
    fn decode(&self, body: Bytes) -> Result<Decoded, DecodeError> {
        match self.is_request {
            true => Request::decode(self.key, self.version, body).map(Decoded::Request),
            false => Response::decode(self.key, self.version, body).map(Decoded::Response),
        }
    }

    /// The body as a message, or a panic that says which.
    fn decoded(&self) -> Decoded {
        self.decode(self.body.clone()).unwrap_or_else(|e| panic!("{self}: {e}"))
    }
}

impl std::fmt::Display for Vector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.is_request { "request" } else { "response" };
        write!(f, "{} {what} v{}", self.name, self.version)
    }
}

/// A message of either direction.
#[derive(Debug)]
enum Decoded {
    Request(Request),
    Response(Response),
}

impl Decoded {
    fn encode(&self, version: i16) -> Result<BytesMut, EncodeError> {
        let mut out = BytesMut::new();
        match self {
            Self::Request(request) => request.encode(version, &mut out),
            Self::Response(response) => response.encode(version, &mut out),
        }
        .map(|()| out)
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Request(request) => request.name(),
            Self::Response(response) => response.name(),
        }
    }

    fn frame(&self, version: i16, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Self::Request(it) => api::encode_request_frame(7, version, Some(&Str::from_static("me")), it, out),
            Self::Response(it) => api::encode_response_frame(7, version, it, out),
        }
    }
}

fn known() -> impl Iterator<Item = &'static Vector> {
    VECTORS.iter().filter(|vector| api(vector.key).is_some())
}

/// Two bodies of every API in every version, small enough to be spoiled at every place.
fn samples() -> impl Iterator<Item = &'static Vector> {
    let mut taken: BTreeMap<(bool, i16, i16), usize> = BTreeMap::new();
    known().filter(move |vector| {
        let taken = taken.entry((vector.is_request, vector.key, vector.version)).or_default();
        let wanted = *taken < 2 && (1..400).contains(&vector.body.len());
        *taken += usize::from(wanted);
        wanted
    })
}

#[test]
fn every_vector_comes_back_as_it_was() {
    for vector in known() {
        let decoded = vector.decoded();
        assert_eq!(decoded.name(), vector.name);
        let again = decoded.encode(vector.version).unwrap_or_else(|e| panic!("{vector}: {e}: {decoded:?}"));
        assert_eq!(again, vector.body, "{vector}: {decoded:?}");
    }
    assert_eq!(known().count(), CHECKED);
}

#[test]
fn only_what_is_listed_is_skipped() {
    let skipped: BTreeSet<_> = VECTORS.iter().filter(|it| api(it.key).is_none()).map(|it| it.name.as_str()).collect();
    assert_eq!(skipped, SKIPPED.iter().copied().collect());
}

#[test]
fn the_table_has_the_versions_of_the_descriptors() {
    let mut versions: BTreeMap<(i16, bool), BTreeSet<i16>> = BTreeMap::new();
    for vector in known() {
        versions.entry((vector.key, vector.is_request)).or_default().insert(vector.version);
    }
    for row in APIS {
        let ours: BTreeSet<i16> = row.versions.clone().collect();
        assert_eq!(versions[&(row.key, true)], ours, "{} request", row.name);
        assert_eq!(versions[&(row.key, false)], ours, "{} response", row.name);
    }
    assert_eq!(versions.len(), 2 * APIS.len());
}

#[test]
fn what_is_not_spoken_is_an_error() {
    let check = |key, version| {
        let body = Bytes::from_static(&[0; 64]);
        let refused = DecodeError::Unsupported { key, version };
        assert_eq!(Request::decode(key, version, body.clone()), Err(refused.clone()));
        assert_eq!(Response::decode(key, version, body), Err(refused));
    };
    for row in APIS {
        for version in [row.versions.start() - 1, row.versions.end() + 1, i16::MIN, i16::MAX] {
            check(row.key, version);
        }
    }
    for key in [i16::MIN, -1, 4, 27, 1000, i16::MAX] {
        check(key, 0);
    }
    for vector in samples() {
        let refused = EncodeError::Unsupported { key: vector.key, version: i16::MAX };
        assert_eq!(vector.decoded().encode(i16::MAX), Err(refused), "{vector}");
    }
}

/// Frames as the dev broker reads and writes them, and as its clients do.
#[test]
fn frames_carry_the_header_of_their_version() {
    for vector in known() {
        let mut out = BytesMut::from(&b"before"[..]);
        vector.decoded().frame(vector.version, &mut out).unwrap();
        let mut frame = out.freeze().slice(6..);
        let length = frame.split_to(4);
        assert_eq!(length[..], u32::try_from(frame.len()).unwrap().to_be_bytes(), "{vector}");
        assert_eq!(frame.len() - vector.body.len(), header_length(vector), "{vector}");
        if vector.is_request {
            let header = api::decode_request_header(&mut frame).unwrap();
            assert_eq!((header.api_key, header.api_version, header.correlation_id), (vector.key, vector.version, 7));
            assert_eq!(header.client_id, Some(Str::from_static("me")));
        } else {
            assert_eq!(api::decode_response_header(vector.key, vector.version, &mut frame), Ok(7));
        }
        assert_eq!(frame, vector.body, "{vector}");
    }
}

fn header_length(vector: &Vector) -> usize {
    let flexible = vector.version >= api(vector.key).unwrap().flexible;
    match (vector.is_request, flexible) {
        (true, false) => 12,
        (true, true) => 13,
        // KIP-511: the response to ApiVersions is read before anything is known of the broker.
        (false, true) if vector.key != 18 => 5,
        (false, _) => 4,
    }
}

#[test]
fn a_body_cut_short_is_an_error() {
    for vector in samples() {
        for end in 0..vector.body.len() {
            assert!(vector.decode(vector.body.slice(..end)).is_err(), "{vector} cut at {end}");
        }
    }
}

#[test]
fn hostile_bytes_are_an_error_or_a_value() {
    let hostile: [&[u8]; 5] =
        [&[0xff], &[0x7f], &[0x7f, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0xff, 0xff, 0xff, 0xff, 0x0f]];
    for vector in samples() {
        for at in 0..vector.body.len() {
            for bytes in hostile {
                let mut body = vector.body.to_vec();
                let end = body.len().min(at + bytes.len());
                body[at..end].copy_from_slice(&bytes[..end - at]);
                // What can still be read as a message can also be written again, or says why not.
                if let Ok(decoded) = vector.decode(body.into()) {
                    let _ = decoded.encode(vector.version);
                }
            }
        }
    }
}

#[test]
fn hostile_headers_are_an_error_or_a_value() {
    for row in APIS {
        for version in row.versions.clone() {
            let mut frame = [row.key.to_be_bytes(), version.to_be_bytes()].concat();
            frame.extend_from_slice(&[0, 0, 0, 7, 0, 2, b'm', b'e', 0xff, 0xff, 0xff, 0xff, 0x7f]);
            for at in 4..frame.len() {
                let mut spoiled = frame.clone();
                spoiled[at] = 0x7f;
                let _ = api::decode_request_header(&mut spoiled.into());
                assert!(api::decode_request_header(&mut Bytes::copy_from_slice(&frame[..at.min(11)])).is_err());
            }
            let _ = api::decode_response_header(row.key, version, &mut Bytes::from_static(&[0xff; 12]));
            assert!(api::decode_response_header(row.key, version, &mut Bytes::from_static(&[0xff; 3])).is_err());
        }
    }
}
