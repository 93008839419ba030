//! The closed set of what can cross the wire, from one table: [`Request`] and [`Response`], their headers and frames, and
//! the adapter that sends them over rskafka's [`Messenger`]. No other file names rskafka's protocol traits.
//!
//! A frame is a 4-byte length, a header and a body. The header of a request is version 1, or 2 once the API's version is
//! flexible (KIP-482); that of a response is version 0 or 1 alike, but for ApiVersions, whose response header stays at 0
//! so that a client can read it before it knows the broker (KIP-511).
//!
//! Bytes after a body are passed over in both directions, as the Java client and librdkafka do.
//!
//! Absent on purpose: APIs that only brokers and controllers speak to each other.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io::Cursor;
use std::ops::RangeInclusive;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use rskafka::messenger::{Messenger, RequestError};
use rskafka::protocol::api_key::ApiKey;
use rskafka::protocol::api_version::{ApiVersion as RskafkaVersion, ApiVersionRange};
use rskafka::protocol::messages::{
    ReadVersionedError, ReadVersionedType, RequestBody, WriteVersionedError, WriteVersionedType,
};
use rskafka::protocol::primitives::Int16;
use rskafka::protocol::traits::{ReadError, WriteError};
use tokio::io::{AsyncRead, AsyncWrite};

use super::message::{DecodeError, EncodeError, HIGHEST_VERSION, Reader, Str, Value, Writer};
use super::messages::*;

/// A request or a response: what its table row says of it.
pub trait Body: Value + Clone + Debug + Default + PartialEq + Send + Sync + 'static {
    const KEY: i16;
    const NAME: &'static str;
    /// The versions we read and write.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields (KIP-482); `i16::MAX` when there is none.
    const FLEXIBLE: i16;
}

/// A request, and what answers it.
pub trait Api: Body + Into<Request> {
    type Response: Body + Into<Response>;
    /// The versions our client may ask for: all of [`Body::VERSIONS`], less those that only brokers speak and those
    /// that Kafka still calls unstable.
    const CLIENT_VERSIONS: RangeInclusive<i16>;

    /// The response of this API; `None` if it is another's.
    fn response(response: Response) -> Option<Self::Response>;

    /// The version to speak with a peer that offers `offered`: the highest that both know.
    fn spoken(offered: &RangeInclusive<i16>) -> Option<i16> {
        let highest = *Self::CLIENT_VERSIONS.end().min(offered.end());
        (highest >= *Self::CLIENT_VERSIONS.start().max(offered.start())).then_some(highest)
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRow {
    pub key: i16,
    pub name: &'static str,
    pub versions: RangeInclusive<i16>,
    pub client_versions: RangeInclusive<i16>,
    pub flexible: i16,
}

/// The row of an API, if we know it.
pub fn api(key: i16) -> Option<&'static ApiRow> {
    APIS.binary_search_by_key(&key, |row| row.key).ok().map(|at| &APIS[at])
}

macro_rules! apis {
    ($( $key:literal $name:ident($request:ident -> $response:ident), $versions:expr
        $(, flexible $flexible:literal)? $(, client $client:expr)?; )*) => {
        /// Every API we speak, by key.
        pub const APIS: &[ApiRow] = &[ $( ApiRow {
            key: $key,
            name: stringify!($name),
            versions: <$request as Body>::VERSIONS,
            client_versions: <$request as Api>::CLIENT_VERSIONS,
            flexible: <$request as Body>::FLEXIBLE,
        }, )* ];

        /// A request of any API.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Request { $( $name($request), )* }

        /// A response of any API.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Response { $( $name($response), )* }

        $(
            apis!(@body $request, $key, $name, $versions $(, $flexible)?);
            apis!(@body $response, $key, $name, $versions $(, $flexible)?);

            impl Api for $request {
                type Response = $response;
                const CLIENT_VERSIONS: RangeInclusive<i16> = apis!(@last $versions $(, $client)?);
                fn response(response: Response) -> Option<$response> {
                    match response {
                        Response::$name(body) => Some(body),
                        _ => None,
                    }
                }
            }

            impl From<$request> for Request {
                fn from(body: $request) -> Self {
                    Self::$name(body)
                }
            }

            impl From<$response> for Response {
                fn from(body: $response) -> Self {
                    Self::$name(body)
                }
            }
        )*

        impl Request {
            pub fn key(&self) -> i16 {
                match self { $( Self::$name(_) => $key, )* }
            }

            pub fn name(&self) -> &'static str {
                match self { $( Self::$name(_) => stringify!($name), )* }
            }

            /// Reads the body of a request, after its header.
            pub fn decode(key: i16, version: i16, body: Bytes) -> Result<Self, DecodeError> {
                match key {
                    $( $key => decode(version, body).map(Self::$name), )*
                    _ => Err(DecodeError::Unsupported { key, version }),
                }
            }

            /// Writes the body alone, without a header.
            pub fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), EncodeError> {
                match self { $( Self::$name(body) => encode(body, version, out), )* }
            }

            /// Sends the request over a connection, in the highest version that both sides speak, and waits for the
            /// answer. Cancel-safe: dropped before all of it is written, it still leaves the connection in order.
            pub async fn send_over<RW>(self, messenger: &Messenger<RW>) -> Result<Versioned<Response>, RequestError>
            where
                RW: AsyncRead + AsyncWrite + Send + 'static,
            {
                match self {
                    $( Self::$name(body) => messenger.request(Wire(body)).await.map(|it| it.map(Response::$name)), )*
                }
            }
        }

        impl Response {
            pub fn key(&self) -> i16 {
                match self { $( Self::$name(_) => $key, )* }
            }

            pub fn name(&self) -> &'static str {
                match self { $( Self::$name(_) => stringify!($name), )* }
            }

            /// Reads the body of a response, after its header.
            pub fn decode(key: i16, version: i16, body: Bytes) -> Result<Self, DecodeError> {
                match key {
                    $( $key => decode(version, body).map(Self::$name), )*
                    _ => Err(DecodeError::Unsupported { key, version }),
                }
            }

            /// Writes the body alone, without a header.
            pub fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), EncodeError> {
                match self { $( Self::$name(body) => encode(body, version, out), )* }
            }
        }

        #[cfg(test)]
        fn defaults() -> Vec<(Request, Response)> {
            vec![ $( ($request::default().into(), $response::default().into()), )* ]
        }
    };
    (@body $body:ident, $key:literal, $name:ident, $versions:expr $(, $flexible:literal)?) => {
        impl Body for $body {
            const KEY: i16 = $key;
            const NAME: &'static str = stringify!($name);
            const VERSIONS: RangeInclusive<i16> = $versions;
            const FLEXIBLE: i16 = apis!(@last i16::MAX $(, $flexible)?);
        }
        const _: () = assert!(*<$body as Body>::VERSIONS.end() <= HIGHEST_VERSION);
    };
    (@last $default:expr) => { $default };
    (@last $default:expr, $given:expr) => { $given };
}

apis! {
    0 Produce(ProduceRequest -> ProduceResponse), 3..=13, flexible 9;
    1 Fetch(FetchRequest -> FetchResponse), 4..=18, flexible 12;
    2 ListOffsets(ListOffsetsRequest -> ListOffsetsResponse), 1..=11, flexible 6;
    3 Metadata(MetadataRequest -> MetadataResponse), 0..=13, flexible 9;
    8 OffsetCommit(OffsetCommitRequest -> OffsetCommitResponse), 2..=10, flexible 8;
    9 OffsetFetch(OffsetFetchRequest -> OffsetFetchResponse), 1..=10, flexible 6;
    10 FindCoordinator(FindCoordinatorRequest -> FindCoordinatorResponse), 0..=6, flexible 3;
    11 JoinGroup(JoinGroupRequest -> JoinGroupResponse), 0..=9, flexible 6;
    12 Heartbeat(HeartbeatRequest -> HeartbeatResponse), 0..=4, flexible 4;
    13 LeaveGroup(LeaveGroupRequest -> LeaveGroupResponse), 0..=5, flexible 4;
    14 SyncGroup(SyncGroupRequest -> SyncGroupResponse), 0..=5, flexible 4;
    15 DescribeGroups(DescribeGroupsRequest -> DescribeGroupsResponse), 0..=6, flexible 5;
    16 ListGroups(ListGroupsRequest -> ListGroupsResponse), 0..=5, flexible 3;
    17 SaslHandshake(SaslHandshakeRequest -> SaslHandshakeResponse), 0..=1;
    18 ApiVersions(ApiVersionsRequest -> ApiVersionsResponse), 0..=5, flexible 3;
    19 CreateTopics(CreateTopicsRequest -> CreateTopicsResponse), 2..=7, flexible 5;
    20 DeleteTopics(DeleteTopicsRequest -> DeleteTopicsResponse), 1..=6, flexible 4;
    21 DeleteRecords(DeleteRecordsRequest -> DeleteRecordsResponse), 0..=2, flexible 2;
    22 InitProducerId(InitProducerIdRequest -> InitProducerIdResponse), 0..=6, flexible 2, client 0..=5;
    23 OffsetForLeaderEpoch(OffsetForLeaderEpochRequest -> OffsetForLeaderEpochResponse), 2..=4, flexible 4;
    24 AddPartitionsToTxn(AddPartitionsToTxnRequest -> AddPartitionsToTxnResponse), 0..=5, flexible 3, client 0..=3;
    25 AddOffsetsToTxn(AddOffsetsToTxnRequest -> AddOffsetsToTxnResponse), 0..=4, flexible 3;
    26 EndTxn(EndTxnRequest -> EndTxnResponse), 0..=5, flexible 3;
    27 WriteTxnMarkers(WriteTxnMarkersRequest -> WriteTxnMarkersResponse), 1..=2, flexible 1;
    28 TxnOffsetCommit(TxnOffsetCommitRequest -> TxnOffsetCommitResponse), 0..=6, flexible 3;
    29 DescribeAcls(DescribeAclsRequest -> DescribeAclsResponse), 1..=3, flexible 2;
    30 CreateAcls(CreateAclsRequest -> CreateAclsResponse), 1..=3, flexible 2;
    31 DeleteAcls(DeleteAclsRequest -> DeleteAclsResponse), 1..=3, flexible 2;
    32 DescribeConfigs(DescribeConfigsRequest -> DescribeConfigsResponse), 1..=4, flexible 4;
    33 AlterConfigs(AlterConfigsRequest -> AlterConfigsResponse), 0..=2, flexible 2;
    35 DescribeLogDirs(DescribeLogDirsRequest -> DescribeLogDirsResponse), 1..=5, flexible 2;
    36 SaslAuthenticate(SaslAuthenticateRequest -> SaslAuthenticateResponse), 0..=2, flexible 2;
    37 CreatePartitions(CreatePartitionsRequest -> CreatePartitionsResponse), 0..=3, flexible 2;
    42 DeleteGroups(DeleteGroupsRequest -> DeleteGroupsResponse), 0..=3, flexible 2;
    43 ElectLeaders(ElectLeadersRequest -> ElectLeadersResponse), 0..=2, flexible 2;
    44 IncrementalAlterConfigs(IncrementalAlterConfigsRequest -> IncrementalAlterConfigsResponse), 0..=1, flexible 1;
    45 AlterPartitionReassignments(AlterPartitionReassignmentsRequest -> AlterPartitionReassignmentsResponse), 0..=1, flexible 0;
    46 ListPartitionReassignments(ListPartitionReassignmentsRequest -> ListPartitionReassignmentsResponse), 0..=0, flexible 0;
    47 OffsetDelete(OffsetDeleteRequest -> OffsetDeleteResponse), 0..=0;
    48 DescribeClientQuotas(DescribeClientQuotasRequest -> DescribeClientQuotasResponse), 0..=1, flexible 1;
    50 DescribeUserScramCredentials(DescribeUserScramCredentialsRequest -> DescribeUserScramCredentialsResponse), 0..=0, flexible 0;
    51 AlterUserScramCredentials(AlterUserScramCredentialsRequest -> AlterUserScramCredentialsResponse), 0..=0, flexible 0;
    60 DescribeCluster(DescribeClusterRequest -> DescribeClusterResponse), 0..=2, flexible 0;
    61 DescribeProducers(DescribeProducersRequest -> DescribeProducersResponse), 0..=0, flexible 0;
    65 DescribeTransactions(DescribeTransactionsRequest -> DescribeTransactionsResponse), 0..=0, flexible 0;
    66 ListTransactions(ListTransactionsRequest -> ListTransactionsResponse), 0..=2, flexible 0;
    68 ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest -> ConsumerGroupHeartbeatResponse), 0..=1, flexible 0;
    69 ConsumerGroupDescribe(ConsumerGroupDescribeRequest -> ConsumerGroupDescribeResponse), 0..=1, flexible 0;
    74 ListConfigResources(ListConfigResourcesRequest -> ListConfigResourcesResponse), 0..=1, flexible 0;
    75 DescribeTopicPartitions(DescribeTopicPartitionsRequest -> DescribeTopicPartitionsResponse), 0..=0, flexible 0;
    76 ShareGroupHeartbeat(ShareGroupHeartbeatRequest -> ShareGroupHeartbeatResponse), 1..=1, flexible 0;
    77 ShareGroupDescribe(ShareGroupDescribeRequest -> ShareGroupDescribeResponse), 1..=1, flexible 0;
    88 StreamsGroupHeartbeat(StreamsGroupHeartbeatRequest -> StreamsGroupHeartbeatResponse), 0..=1, flexible 0;
    89 StreamsGroupDescribe(StreamsGroupDescribeRequest -> StreamsGroupDescribeResponse), 0..=1, flexible 0;
    90 DescribeShareGroupOffsets(DescribeShareGroupOffsetsRequest -> DescribeShareGroupOffsetsResponse), 0..=1, flexible 0;
    91 AlterShareGroupOffsets(AlterShareGroupOffsetsRequest -> AlterShareGroupOffsetsResponse), 0..=0, flexible 0;
    92 DeleteShareGroupOffsets(DeleteShareGroupOffsetsRequest -> DeleteShareGroupOffsetsResponse), 0..=0, flexible 0;
}

fn decode<T: Body>(version: i16, body: Bytes) -> Result<T, DecodeError> {
    if !T::VERSIONS.contains(&version) {
        return Err(DecodeError::Unsupported { key: T::KEY, version });
    }
    T::get(&mut Reader::new(body, version, version >= T::FLEXIBLE))
}

fn encode<T: Body>(body: &T, version: i16, out: &mut BytesMut) -> Result<(), EncodeError> {
    if !T::VERSIONS.contains(&version) {
        return Err(EncodeError::Unsupported { key: T::KEY, version });
    }
    out.reserve(body.room());
    body.put(&mut Writer::new(out, version, version >= T::FLEXIBLE))
}

/// What precedes a request's body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Str>,
}

/// Takes the header off a frame (without its length) and leaves the body. An API we do not know has its header read as
/// version 1; its body then fails in [`Request::decode`]. A version above ours is read as flexible, as its header is.
pub fn decode_request_header(frame: &mut Bytes) -> Result<RequestHeader, DecodeError> {
    // The client id keeps its 16-bit length in header version 2 as well.
    let mut fixed = Reader::new(std::mem::take(frame), 1, false);
    let header = RequestHeader {
        api_key: i16::get(&mut fixed)?,
        api_version: i16::get(&mut fixed)?,
        correlation_id: i32::get(&mut fixed)?,
        client_id: Option::get(&mut fixed)?,
    };
    *frame = fixed.into_rest();
    if request_header_is_flexible(header.api_key, header.api_version) {
        pass_tagged(frame)?;
    }
    Ok(header)
}

/// Takes the header off a response frame (without its length), leaves the body and says the correlation id.
pub fn decode_response_header(key: i16, version: i16, frame: &mut Bytes) -> Result<i32, DecodeError> {
    let mut fixed = Reader::new(std::mem::take(frame), 0, false);
    let correlation_id = i32::get(&mut fixed)?;
    *frame = fixed.into_rest();
    if response_header_is_flexible(key, version) {
        pass_tagged(frame)?;
    }
    Ok(correlation_id)
}

fn pass_tagged(frame: &mut Bytes) -> Result<(), DecodeError> {
    let mut tagged = Reader::new(std::mem::take(frame), 2, true);
    tagged.skip_tagged()?;
    *frame = tagged.into_rest();
    Ok(())
}

fn request_header_is_flexible(key: i16, version: i16) -> bool {
    api(key).is_some_and(|row| version >= row.flexible)
}

fn response_header_is_flexible(key: i16, version: i16) -> bool {
    key != ApiVersionsResponse::KEY && request_header_is_flexible(key, version)
}

/// Appends a whole request frame, its 4-byte length first. After an error `out` is as it was.
pub fn encode_request_frame(
    correlation_id: i32,
    api_version: i16,
    client_id: Option<&Str>,
    request: &Request,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    frame(out, |out| {
        let mut header = Writer::new(out, 1, false);
        request.key().put(&mut header)?;
        api_version.put(&mut header)?;
        correlation_id.put(&mut header)?;
        client_id.cloned().put(&mut header)?;
        if request_header_is_flexible(request.key(), api_version) {
            header.unsigned_varint(0);
        }
        request.encode(api_version, out)
    })
}

/// Appends a whole response frame, its 4-byte length first. After an error `out` is as it was.
pub fn encode_response_frame(
    correlation_id: i32,
    api_version: i16,
    response: &Response,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    frame(out, |out| {
        let mut header = Writer::new(out, 0, false);
        correlation_id.put(&mut header)?;
        if response_header_is_flexible(response.key(), api_version) {
            header.unsigned_varint(0);
        }
        response.encode(api_version, out)
    })
}

/// Writes something behind its own length.
fn frame(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_i32(0);
    let written = write(out).and_then(|()| {
        let length = out.len() - start - 4;
        i32::try_from(length).map_err(|_| EncodeError::TooLong(length))
    });
    match written {
        Ok(length) => out[start..start + 4].copy_from_slice(&length.to_be_bytes()),
        Err(_) => out.truncate(start),
    }
    written.map(drop)
}

/// A request in the form that rskafka sends.
#[derive(Debug)]
pub struct Wire<R: Api>(pub R);

/// A response, and the version it came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    pub version: i16,
    pub body: T,
}

impl<T> Versioned<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Versioned<U> {
        Versioned { version: self.version, body: change(self.body) }
    }
}

impl<R: Api> RequestBody for Wire<R> {
    type ResponseBody = Versioned<R::Response>;
    const API_KEY: ApiKey = rskafka_key(R::KEY);
    const API_VERSION_RANGE: ApiVersionRange = rskafka_range(&R::CLIENT_VERSIONS);
    const FIRST_TAGGED_FIELD_IN_REQUEST_VERSION: RskafkaVersion = RskafkaVersion(Int16(R::FLEXIBLE));
    /// Never: what follows the correlation id is read here, so that hostile tags cost no more than their frame.
    const FIRST_TAGGED_FIELD_IN_RESPONSE_VERSION: RskafkaVersion = RskafkaVersion(Int16(i16::MAX));
}

impl<R: Api> WriteVersionedType<Vec<u8>> for Wire<R> {
    /// The small header that rskafka has written is copied, so that the body is written once, into room made for it.
    fn write_versioned(&self, writer: &mut Vec<u8>, version: RskafkaVersion) -> Result<(), WriteVersionedError> {
        let mut out = BytesMut::with_capacity(writer.len() + self.0.room());
        out.put_slice(writer);
        encode(&self.0, version.0.0, &mut out).map_err(|e| WriteError::Malformed(e.into()))?;
        *writer = out.into();
        Ok(())
    }
}

impl<T: Body> ReadVersionedType<Cursor<Vec<u8>>> for Versioned<T> {
    /// Takes the frame out of the cursor, so that texts and record sets share its memory. What stays is an empty cursor:
    /// rskafka sees nothing left over, and so tolerates trailing bytes.
    fn read_versioned(frame: &mut Cursor<Vec<u8>>, version: RskafkaVersion) -> Result<Self, ReadVersionedError> {
        let at = usize::try_from(frame.position()).map_err(ReadError::Overflow)?;
        let mut body = Bytes::from(std::mem::take(frame.get_mut()));
        frame.set_position(0);
        body.advance(at.min(body.len()));
        if response_header_is_flexible(T::KEY, version.0.0) {
            pass_tagged(&mut body).map_err(|e| ReadError::Malformed(e.into()))?;
        }
        let version = answered_in(T::KEY, version.0.0, &body);
        let body = decode(version, body).map_err(|e| ReadError::Malformed(e.into()))?;
        Ok(Self { version, body })
    }
}

/// A broker that does not know the version of an ApiVersions request answers UNSUPPORTED_VERSION in version 0 (KIP-511);
/// every other answer comes in the version that was asked for.
fn answered_in(key: i16, asked: i16, body: &[u8]) -> i16 {
    const UNSUPPORTED_VERSION: i16 = 35;
    if key == ApiVersionsResponse::KEY && body.starts_with(&UNSUPPORTED_VERSION.to_be_bytes()) { 0 } else { asked }
}

/// What a broker offers, in the form that rskafka's messenger negotiates from; ranges that end before they start say
/// nothing and are left out.
pub fn offered(ranges: impl IntoIterator<Item = (i16, RangeInclusive<i16>)>) -> HashMap<ApiKey, ApiVersionRange> {
    let usable = ranges.into_iter().filter(|(_, versions)| !versions.is_empty());
    usable.map(|(key, versions)| (rskafka_key(key), rskafka_range(&versions))).collect()
}

const fn rskafka_range(versions: &RangeInclusive<i16>) -> ApiVersionRange {
    ApiVersionRange::new(RskafkaVersion(Int16(*versions.start())), RskafkaVersion(Int16(*versions.end())))
}

/// rskafka's name for a key. Its own conversion is not `const`; a test holds the two together.
const fn rskafka_key(key: i16) -> ApiKey {
    match key {
        0 => ApiKey::Produce,
        1 => ApiKey::Fetch,
        2 => ApiKey::ListOffsets,
        3 => ApiKey::Metadata,
        8 => ApiKey::OffsetCommit,
        9 => ApiKey::OffsetFetch,
        10 => ApiKey::FindCoordinator,
        11 => ApiKey::JoinGroup,
        12 => ApiKey::Heartbeat,
        13 => ApiKey::LeaveGroup,
        14 => ApiKey::SyncGroup,
        15 => ApiKey::DescribeGroups,
        16 => ApiKey::ListGroups,
        17 => ApiKey::SaslHandshake,
        18 => ApiKey::ApiVersions,
        19 => ApiKey::CreateTopics,
        20 => ApiKey::DeleteTopics,
        21 => ApiKey::DeleteRecords,
        22 => ApiKey::InitProducerId,
        23 => ApiKey::OffsetForLeaderEpoch,
        24 => ApiKey::AddPartitionsToTxn,
        25 => ApiKey::AddOffsetsToTxn,
        26 => ApiKey::EndTxn,
        27 => ApiKey::WriteTxnMarkers,
        28 => ApiKey::TxnOffsetCommit,
        29 => ApiKey::DescribeAcls,
        30 => ApiKey::CreateAcls,
        31 => ApiKey::DeleteAcls,
        32 => ApiKey::DescribeConfigs,
        33 => ApiKey::AlterConfigs,
        35 => ApiKey::DescribeLogDirs,
        36 => ApiKey::SaslAuthenticate,
        37 => ApiKey::CreatePartitions,
        42 => ApiKey::DeleteGroups,
        43 => ApiKey::ElectLeaders,
        44 => ApiKey::IncrementalAlterConfigs,
        45 => ApiKey::AlterPartitionReassignments,
        46 => ApiKey::ListPartitionReassignments,
        47 => ApiKey::OffsetDelete,
        48 => ApiKey::DescribeClientQuotas,
        50 => ApiKey::DescribeUserScramCredentials,
        51 => ApiKey::AlterUserScramCredentials,
        60 => ApiKey::DescribeCluster,
        61 => ApiKey::DescribeProducers,
        65 => ApiKey::DescribeTransactions,
        66 => ApiKey::ListTransactions,
        _ => ApiKey::Unknown(Int16(key)),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    type Outcome = Result<(), Box<dyn Error>>;

    /// Answers every request with `answer`, and `extra` bytes behind it.
    async fn broker(mut peer: DuplexStream, answer: Response, version: Option<i16>, extra: &[u8]) -> Outcome {
        let mut frame = vec![0; usize::try_from(peer.read_u32().await?)?];
        peer.read_exact(&mut frame).await?;
        let mut frame = Bytes::from(frame);
        let header = decode_request_header(&mut frame)?;
        assert_eq!(header.client_id, Some(Str::from_static("me")));
        assert_eq!(Request::decode(header.api_key, header.api_version, frame)?.key(), header.api_key);
        let mut out = BytesMut::new();
        encode_response_frame(header.correlation_id, version.unwrap_or(header.api_version), &answer, &mut out)?;
        out.extend_from_slice(extra);
        let length = u32::try_from(out.len() - 4)?;
        out[..4].copy_from_slice(&length.to_be_bytes());
        peer.write_all(&out).await?;
        Ok(())
    }

    async fn asked(
        request: Request,
        answer: Response,
        version: Option<i16>,
        extra: &[u8],
    ) -> Result<Versioned<Response>, Box<dyn Error>> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut messenger = Messenger::new(ours, 1 << 20, Arc::from("me"));
        messenger.override_version_ranges(offered(APIS.iter().map(|row| (row.key, row.versions.clone()))));
        let (said, served) = tokio::join!(request.send_over(&messenger), broker(theirs, answer, version, extra));
        served?;
        Ok(said?)
    }

    #[tokio::test]
    async fn every_api_is_asked_and_answered_over_a_messenger() -> Outcome {
        for ((request, response), row) in defaults().into_iter().zip(APIS) {
            assert_eq!((request.key(), request.name()), (row.key, row.name));
            let said = asked(request, response.clone(), None, b"").await?;
            assert_eq!(said, Versioned { version: *row.client_versions.end(), body: response });
        }
        Ok(())
    }

    #[tokio::test]
    async fn trailing_bytes_are_passed_over() -> Outcome {
        let answer: Response = HeartbeatResponse { error_code: 27, ..Default::default() }.into();
        let said = asked(HeartbeatRequest::default().into(), answer.clone(), None, b"more").await?;
        assert_eq!(said.body, answer);
        Ok(())
    }

    #[tokio::test]
    async fn a_broker_that_knows_only_older_api_versions_is_understood() -> Outcome {
        let known = ApiVersion { api_key: 18, min_version: 0, max_version: 2 };
        let answer: Response =
            ApiVersionsResponse { error_code: 35, api_keys: vec![known], ..Default::default() }.into();
        let said = asked(ApiVersionsRequest::default().into(), answer.clone(), Some(0), b"").await?;
        assert_eq!(said, Versioned { version: 0, body: answer });
        Ok(())
    }

    #[tokio::test]
    async fn a_record_set_shares_the_memory_of_its_frame() -> Outcome {
        let mut frame = BytesMut::new();
        let partition = PartitionData { records: Some(Bytes::from(vec![7; 1000])), ..Default::default() };
        let topic = FetchableTopicResponse { partitions: vec![partition], ..Default::default() };
        let body = FetchResponse { responses: vec![topic], ..Default::default() };
        Response::from(body.clone()).encode(4, &mut frame)?;
        let within = frame.as_ptr_range();
        let mut cursor = Cursor::new(Vec::from(frame));
        let read = Versioned::<FetchResponse>::read_versioned(&mut cursor, RskafkaVersion(Int16(4)))?;
        assert_eq!(read.body, body);
        let records = read.body.responses[0].partitions[0].records.clone().unwrap_or_default();
        assert!(within.contains(&records.as_ptr()));
        Ok(())
    }

    #[test]
    fn rskafka_means_the_same_keys() {
        assert!(APIS.is_sorted_by_key(|row| row.key));
        for row in APIS {
            assert_eq!(rskafka_key(row.key), ApiKey::from(Int16(row.key)), "{}", row.name);
        }
    }

    #[test]
    fn the_highest_version_that_both_know_is_spoken() {
        for (range, spoken) in [(0..=3, Some(3)), (0..=99, Some(4)), (4..=9, Some(4)), (5..=9, None)] {
            assert_eq!(HeartbeatRequest::spoken(&range), spoken, "{range:?}");
        }
        // Versions 4 and up of AddPartitionsToTxn are between brokers (KIP-890).
        assert_eq!(AddPartitionsToTxnRequest::spoken(&(0..=5)), Some(3));
        #[allow(clippy::reversed_empty_ranges)]
        let flipped = offered([(18, 3..=1), (3, 0..=12)]);
        assert_eq!(flipped.len(), 1);
    }

    #[test]
    fn a_frame_that_fails_leaves_nothing_behind() {
        let mut out = BytesMut::from(&b"before"[..]);
        let request = FindCoordinatorRequest { key: "a".into(), ..Default::default() };
        let failed = encode_request_frame(1, 5, None, &request.into(), &mut out);
        assert_eq!(failed, Err(EncodeError::Absent { field: "key", version: 5 }));
        assert_eq!(out, "before");
    }
}
