//! DeleteAcls (API 31): removes the access rules that match filters, and tells which (KIP-140).
//!
//! - 1: names that are prefixes (KIP-290)
//! - 2: KIP-482
//! - 3: users as a resource (KIP-373)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DeleteAclsRequest {
        filters: Vec<DeleteAclsFilter>, 0..;
    }
}

message! {
    pub struct DeleteAclsFilter {
        resource_type_filter: i8, 0..;
        resource_name_filter: Option<Str> = Some(Str::default()), 0..;
        pattern_type_filter: i8 = 3, 1..;
        principal_filter: Option<Str> = Some(Str::default()), 0..;
        host_filter: Option<Str> = Some(Str::default()), 0..;
        operation: i8, 0..;
        permission_type: i8, 0..;
    }
}

message! {
    pub struct DeleteAclsResponse {
        throttle_time_ms: i32, 0..;
        filter_results: Vec<DeleteAclsFilterResult>, 0..;
    }
}

message! {
    pub struct DeleteAclsFilterResult {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        matching_acls: Vec<DeleteAclsMatchingAcl>, 0..;
    }
}

message! {
    pub struct DeleteAclsMatchingAcl {
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        pattern_type: i8 = 3, 1..;
        principal: Str, 0..;
        host: Str, 0..;
        operation: i8, 0..;
        permission_type: i8, 0..;
    }
}
