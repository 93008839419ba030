//! DescribeClientQuotas (API 48): what is set for whom (KIP-546).
//!
//! - 1: KIP-482

use crate::message;
use crate::protocol::message::Str;

message! {
    pub struct DescribeClientQuotasRequest {
        components: Vec<ClientQuotaComponent>, 0..;
        /// Only what has none but these kinds of entity.
        strict: bool, 0..;
    }
}

message! {
    pub struct ClientQuotaComponent {
        entity_type: Str, 0..;
        /// 0: this name; 1: the default; 2: any that is named.
        match_type: i8, 0..;
        r#match: Option<Str> = Some(Str::default()), 0..;
    }
}

message! {
    pub struct DescribeClientQuotasResponse {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        error_message: Option<Str> = Some(Str::default()), 0..;
        entries: Option<Vec<ClientQuotaEntry>> = Some(Vec::new()), 0..;
    }
}

message! {
    pub struct ClientQuotaEntry {
        entity: Vec<ClientQuotaEntity>, 0..;
        values: Vec<ClientQuotaValue>, 0..;
    }
}

message! {
    pub struct ClientQuotaEntity {
        entity_type: Str, 0..;
        /// Null for the default.
        entity_name: Option<Str> = Some(Str::default()), 0..;
    }
}

message! {
    pub struct ClientQuotaValue {
        key: Str, 0..;
        value: f64, 0..;
    }
}
