//! SaslAuthenticate (API 36).

use bytes::Bytes;

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct SaslAuthenticateRequest {
        auth_bytes: Bytes, 0..;
    }
}

message! {
    pub struct SaslAuthenticateResponse {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        auth_bytes: Bytes, 0..;
        session_lifetime_ms: i64, 1.., [ignorable];
    }
}
