//! AlterUserScramCredentials (API 51): sets or removes the SCRAM credentials of users (KIP-554).
//!
//! A password does not cross the wire: the client salts it and sends the result.

use bytes::Bytes;

use crate::message;
use crate::protocol::message::{Concealed, Str};

message! {
    pub struct AlterUserScramCredentialsRequest {
        deletions: Vec<ScramCredentialDeletion>, 0..;
        upsertions: Vec<ScramCredentialUpsertion>, 0..;
    }
}

message! {
    pub struct ScramCredentialDeletion {
        name: Str, 0..;
        mechanism: i8, 0..;
    }
}

message! {
    pub struct ScramCredentialUpsertion {
        name: Str, 0..;
        /// 1: SCRAM-SHA-256; 2: SCRAM-SHA-512.
        mechanism: i8, 0..;
        iterations: i32, 0..;
        salt: Bytes, 0..;
        salted_password: Concealed, 0..;
    }
}

message! {
    pub struct AlterUserScramCredentialsResponse {
        throttle_time_ms: i32, 0..;
        results: Vec<AlterUserScramCredentialsResult>, 0..;
    }
}

message! {
    pub struct AlterUserScramCredentialsResult {
        user: Str, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
    }
}
