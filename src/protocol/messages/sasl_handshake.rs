//! SaslHandshake (API 17): picks the SASL mechanism of a connection (KIP-43). Never flexible (KAFKA-9577).
//!
//! After version 0 the tokens follow as bare frames, after version 1 in SaslAuthenticate (KIP-152).

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
