//! SaslHandshake (API 17).

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct SaslHandshakeRequest {
        mechanism: Str, 0..;
    }
}

message! {
    pub struct SaslHandshakeResponse {
        error_code: i16, 0..;
        mechanisms: Vec<Str>, 0..;
    }
}
