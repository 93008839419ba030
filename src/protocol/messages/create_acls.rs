//! CreateAcls (API 30): adds access rules (KIP-140).
//!
//! - 1: names that are prefixes (KIP-290)
//! - 2: KIP-482
//! - 3: users as a resource (KIP-373)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct CreateAclsRequest {
        creations: Vec<AclCreation>, 0..;
    }
}

message! {
    pub struct AclCreation {
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        resource_pattern_type: i8 = 3, 1..;
        principal: Str, 0..;
        host: Str, 0..;
        operation: i8, 0..;
        permission_type: i8, 0..;
    }
}

message! {
    pub struct CreateAclsResponse {
        throttle_time_ms: i32, 0..;
        results: Vec<AclCreationResult>, 0..;
    }
}

message! {
    pub struct AclCreationResult {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
    }
}
