//! DescribeClientQuotas (48): none, for nothing can set any. Kafka's tools ask for them before they tell of users.

use crate::devbroker::reply::Answer;
use crate::protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};

pub fn serve(_: &DescribeClientQuotasRequest) -> Answer {
    DescribeClientQuotasResponse { error_message: None, entries: Some(Vec::new()), ..Default::default() }.into()
}
