//! SaslAuthenticate (API 36): one token of a SASL exchange, either way (KIP-152).
//!
//! - 1: how long the session lasts before the client must authenticate again (KIP-368)
//! - 2: KIP-482

use crate::message;
use crate::protocol::message::{Concealed, Str};

message! {
    pub struct SaslAuthenticateRequest {
        auth_bytes: Concealed, 0..;
    }
}

message! {
    pub struct SaslAuthenticateResponse {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        auth_bytes: Concealed, 0..;
        /// 0 when the session does not end.
        session_lifetime_ms: i64, 1.., [ignorable];
    }
}
