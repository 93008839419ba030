//! DescribeUserScramCredentials (50): which SCRAM credentials users have, without their secrets (KIP-554).

use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use crate::protocol::types::Str;

pub fn serve(state: &State, request: DescribeUserScramCredentialsRequest) -> Answer {
    let users: Vec<Str> = request.users.into_iter().flatten().map(|user| user.name).collect();
    let results = state.users.describe(&users);
    DescribeUserScramCredentialsResponse { error_message: None, results, ..Default::default() }.into()
}
