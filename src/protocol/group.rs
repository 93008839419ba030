//! What the members of a consumer group tell each other inside JoinGroup and SyncGroup: the subscription that a member
//! joins with, and the assignment that its leader hands back (`ConsumerProtocolSubscription.json`,
//! `ConsumerProtocolAssignment.json`, Kafka 4.4). Brokers pass both on without looking at more than the topics.
//!
//! A version, 16 bits, goes before each. A reader takes what it knows of a later version: fields are only ever added at
//! the end.
//!
//! - 1: what the member owns at present, so that it need not give it up before it joins (KIP-429)
//! - 2: in which generation it came to own that (KIP-792)
//! - 3: the member's rack (KIP-881)

use bytes::{Bytes, BytesMut};

use super::message::{DecodeError, EncodeError, Reader, Str, Value, Writer};
use crate::message;

/// The latest version of both.
pub const VERSION: i16 = 3;

message! {
    pub struct ConsumerProtocolSubscription {
        topics: Vec<Str>, 0..;
        /// Of the assignor; the same for all versions.
        user_data: Option<Bytes>, 0..;
        owned_partitions: Vec<ConsumerProtocolPartitions>, 1.., [ignorable];
        /// -1 for a member that owns nothing yet.
        generation_id: i32 = -1, 2.., [ignorable];
        rack_id: Option<Str>, 3.., [ignorable];
    }
}

message! {
    pub struct ConsumerProtocolAssignment {
        assigned_partitions: Vec<ConsumerProtocolPartitions>, 0..;
        user_data: Option<Bytes>, 0..;
    }
}

message! {
    /// Some partitions of one topic.
    pub struct ConsumerProtocolPartitions {
        topic: Str, 0..;
        partitions: Vec<i32>, 0..;
    }
}

message! {
    /// What the `sticky` assignor sends along as its user data (`StickyAssignor.java`): its members give everything up
    /// before they join, so that what they had stands here.
    pub struct StickyUserData {
        previous_assignment: Vec<ConsumerProtocolPartitions>, 0..;
        /// In which it was assigned.
        generation: i32 = -1, 1..;
    }
}

/// Writes user data of the `sticky` assignor. Its version is not told.
pub fn encode_sticky(value: &StickyUserData) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::with_capacity(value.room());
    value.put(&mut Writer::new(&mut out, 1, false))?;
    Ok(out.freeze())
}

/// Reads user data of the `sticky` assignor. Clients before Kafka 2.3 leave out the generation.
pub fn decode_sticky(bytes: &Bytes) -> Result<StickyUserData, DecodeError> {
    let read = |version| StickyUserData::get(&mut Reader::new(bytes.clone(), version, false));
    read(1).or_else(|_| read(0))
}

/// Writes a subscription or an assignment, its version before it.
pub fn encode(value: &impl Value, version: i16) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::with_capacity(2 + value.room());
    let mut writer = Writer::new(&mut out, version, false);
    version.put(&mut writer)?;
    value.put(&mut writer)?;
    Ok(out.freeze())
}

/// Reads a subscription or an assignment. An assignment without any bytes is one without partitions.
pub fn decode<T: Value + Default>(bytes: Bytes) -> Result<T, DecodeError> {
    if bytes.is_empty() {
        return Ok(T::default());
    }
    let mut reader = Reader::new(bytes, 0, false);
    let version = i16::get(&mut reader)?;
    if version < 0 {
        return Err(DecodeError::Length(i64::from(version)));
    }
    T::get(&mut Reader::new(reader.into_rest(), version.min(VERSION), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> ConsumerProtocolSubscription {
        ConsumerProtocolSubscription {
            topics: vec!["t".into()],
            user_data: Some(Bytes::from_static(&[0, 0, 0, 7])),
            owned_partitions: vec![ConsumerProtocolPartitions { topic: "t".into(), partitions: vec![2] }],
            generation_id: 7,
            rack_id: None,
        }
    }

    #[test]
    fn every_version_is_as_java_writes_it() {
        let head = "00000001000174000000040000000700000001000174000000010000000200000007ffff";
        let check = |version: i16, length: usize| {
            let bytes = encode(&subscription(), version).expect("encodes");
            let hex: String = bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((bytes[1], hex.as_str()), (version as u8, &head[..2 * length]), "version {version}");
        };
        check(0, 15);
        check(1, 30);
        check(2, 34);
        check(3, 36);
    }

    #[test]
    fn sticky_user_data_is_as_java_writes_it() {
        let previous_assignment = vec![ConsumerProtocolPartitions { topic: "t".into(), partitions: vec![2] }];
        let data = StickyUserData { previous_assignment, generation: 7 };
        let bytes = encode_sticky(&data).expect("encodes");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "00000001000174000000010000000200000007");
        assert_eq!(decode_sticky(&bytes).expect("decodes"), data);
        let old = decode_sticky(&bytes.slice(..bytes.len() - 4)).expect("decodes");
        assert_eq!(old, StickyUserData { generation: -1, ..data });
        assert!(decode_sticky(&bytes.slice(..7)).is_err());
    }

    #[test]
    fn what_a_version_has_is_read_and_later_ones_as_far_as_known() {
        let bytes = encode(&subscription(), 1).expect("encodes");
        let read: ConsumerProtocolSubscription = decode(bytes).expect("decodes");
        assert_eq!(read, ConsumerProtocolSubscription { generation_id: -1, ..subscription() });
        let mut later = BytesMut::from(&encode(&subscription(), 3).expect("encodes")[..]);
        later[1] = 9;
        later.extend_from_slice(b"and more");
        assert_eq!(decode(later.freeze()), Ok(subscription()));
    }

    #[test]
    fn no_bytes_are_no_partitions_and_broken_ones_an_error() {
        assert_eq!(decode(Bytes::new()), Ok(ConsumerProtocolAssignment::default()));
        for broken in [&[0][..], &[0, 0, 0, 0, 0, 9], &[0xff, 0xff, 0, 0, 0, 0]] {
            assert!(decode::<ConsumerProtocolAssignment>(Bytes::copy_from_slice(broken)).is_err(), "{broken:?}");
        }
    }
}
