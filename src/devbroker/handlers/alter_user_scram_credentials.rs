//! AlterUserScramCredentials (51): sets or removes the SCRAM credentials of users, each user's once in a request (KIP-554).

use super::Refused;
use crate::devbroker::journal::Entry;
use crate::devbroker::reply::Answer;
use crate::devbroker::state::State;
use crate::protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, AlterUserScramCredentialsResult,
};
use crate::protocol::types::Str;

pub fn serve(state: &mut State, request: &AlterUserScramCredentialsRequest) -> Answer {
    let decided = state.users.decide(request).into_iter();
    let results =
        decided.map(|(user, change)| result(user, change.and_then(|entry| change_one(state, &entry)))).collect();
    AlterUserScramCredentialsResponse { results, ..Default::default() }.into()
}

fn change_one(state: &mut State, entry: &Entry) -> Result<(), Refused> {
    state.record(std::slice::from_ref(entry))?;
    state.users.replay(entry);
    Ok(())
}

fn result(user: Str, outcome: Result<(), Refused>) -> AlterUserScramCredentialsResult {
    let (error_code, error_message) = match outcome {
        Ok(()) => (0, None),
        Err(refused) => (refused.error.into(), Some(refused.message.into())),
    };
    AlterUserScramCredentialsResult { user, error_code, error_message }
}
