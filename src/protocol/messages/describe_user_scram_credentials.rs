//! DescribeUserScramCredentials (API 50): which SCRAM mechanisms users have, without their secrets (KIP-554).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeUserScramCredentialsRequest {
        /// Null or empty for all.
        users: Option<Vec<ScramUserName>> = Some(Vec::new()), 0..;
    }
}

message! {
    pub struct ScramUserName {
        name: Str, 0..;
    }
}

message! {
    pub struct DescribeUserScramCredentialsResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        results: Vec<DescribeUserScramCredentialsResult>, 0..;
    }
}

message! {
    pub struct DescribeUserScramCredentialsResult {
        user: Str, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        credential_infos: Vec<ScramCredentialInfo>, 0..;
    }
}

message! {
    pub struct ScramCredentialInfo {
        mechanism: i8, 0..;
        iterations: i32, 0..;
    }
}
