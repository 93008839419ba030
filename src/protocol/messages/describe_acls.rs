//! DescribeAcls (API 29): the access rules that match a filter (KIP-140).
//!
//! - 1: names that are prefixes (KIP-290)
//! - 2: KIP-482
//! - 3: users as a resource (KIP-373)

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeAclsRequest {
        resource_type_filter: i8, 0..;
        /// Null matches any.
        resource_name_filter: Option<Str> = Some(Str::default()), 0..;
        pattern_type_filter: i8 = 3, 1..;
        principal_filter: Option<Str> = Some(Str::default()), 0..;
        host_filter: Option<Str> = Some(Str::default()), 0..;
        operation: i8, 0..;
        permission_type: i8, 0..;
    }
}

message! {
    pub struct DescribeAclsResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        resources: Vec<DescribeAclsResource>, 0..;
    }
}

message! {
    pub struct DescribeAclsResource {
        resource_type: i8, 0..;
        resource_name: Str, 0..;
        pattern_type: i8 = 3, 1..;
        acls: Vec<AclDescription>, 0..;
    }
}

message! {
    pub struct AclDescription {
        principal: Str, 0..;
        host: Str, 0..;
        operation: i8, 0..;
        permission_type: i8, 0..;
    }
}
