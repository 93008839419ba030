//! The SCRAM credentials of users (KIP-554): which there are, and changing them. A password does not cross the wire: it
//! is salted here, and the result is sent; so send it over TLS all the same, for it serves as well as the password.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use rand::RngCore;

use super::{Admin, Round, all_failed, passes_but_unknown, unanswered};
use crate::client::cluster::To;
use crate::client::error::Error;
use crate::client::lane::Lane;
use crate::protocol::api::Body;
use crate::protocol::error::ErrorCode;
use crate::protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResult,
    ScramCredentialDeletion, ScramCredentialUpsertion, ScramUserName,
};
use crate::protocol::sasl::Secret;
use crate::protocol::sasl::scram::Hash;
use crate::protocol::types::Str;

/// Random bytes in the salt of a new credential.
const SALT_BYTES: usize = 32;

/// With which hash a credential is made: which of the mechanisms it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScramMechanism {
    Sha256,
    Sha512,
}

impl ScramMechanism {
    fn number(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    fn of(number: i8) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|it| it.number() == number)
    }

    fn hash(self) -> Hash {
        match self {
            Self::Sha256 => Hash::Sha256,
            Self::Sha512 => Hash::Sha512,
        }
    }
}

/// `SCRAM-SHA-256`
impl fmt::Display for ScramMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        })
    }
}

/// That a user has a credential, and how hard it is to guess; brokers tell no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScramCredential {
    pub mechanism: ScramMechanism,
    pub iterations: u32,
}

/// What is to become of one user's credential for one mechanism.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScramChange {
    Set {
        user: String,
        mechanism: ScramMechanism,
        password: Secret,
        /// Kafka takes from 4096 to 16384.
        iterations: u32,
    },
    Delete {
        user: String,
        mechanism: ScramMechanism,
    },
}

impl ScramChange {
    /// The number of iterations of Kafka's own tools.
    pub const ITERATIONS: u32 = 4096;

    pub fn user(&self) -> &str {
        match self {
            Self::Set { user, .. } | Self::Delete { user, .. } => user,
        }
    }
}

/// The credentials of each user, or the reason why not.
type Described = Vec<(String, Result<Vec<ScramCredential>, Error>)>;

impl Admin {
    /// The credentials of these users; of all who have any, if none is named. A user without one fails with
    /// RESOURCE_NOT_FOUND. From Kafka 2.7 on, and 3.5 under KRaft.
    pub async fn describe_scram_credentials(&self, users: &[String]) -> Result<Described, Error> {
        let asked = self.in_rounds(vec![()], passes_but_unknown, |_, round| async move {
            vec![((), self.ask_credentials(users, round).await)]
        });
        let said = asked.await.pop().map_or_else(|| Ok(Vec::new()), |((), said)| said);
        said.map_err(|error| error.of(DescribeUserScramCredentialsRequest::NAME))
    }

    async fn ask_credentials(&self, users: &[String], round: Round) -> Result<Described, Error> {
        let name = |user: &String| ScramUserName { name: user.as_str().into() };
        let request = DescribeUserScramCredentialsRequest {
            users: (!users.is_empty()).then(|| users.iter().map(name).collect()),
        };
        let answer = self.cluster.call(To::Controller, Lane::General, request, round.left()).await?.body;
        let code = ErrorCode(answer.error_code).ok();
        code.map_err(|code| Error::broker_says(code, answer.error_message.as_deref()))?;
        let mut described: Described = answer.results.into_iter().map(credentials).collect();
        described.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(described)
    }

    /// Sets credentials, or removes them; says what became of each change, in their order. Kafka takes one change of a
    /// user in a request, so several of one user are made one after the other.
    pub async fn alter_scram_credentials(
        &self,
        changes: &[ScramChange],
    ) -> Result<Vec<(String, Result<(), Error>)>, Error> {
        let salted: Vec<Salted<'_>> = changes.iter().map(|change| Salted::of(change, salt())).collect();
        let mut outcomes = BTreeMap::new();
        for together in one_of_each_user(changes) {
            let altered =
                self.in_rounds(together, passes_but_unknown, |open, round| self.ask_to_alter(&salted, open, round));
            outcomes.extend(altered.await);
        }
        let named = |(at, outcome): (usize, Result<(), Error>)| {
            let user = changes.get(at)?.user().to_owned();
            Some((user, outcome.map_err(|error| error.of(AlterUserScramCredentialsRequest::NAME))))
        };
        Ok(outcomes.into_iter().filter_map(named).collect())
    }

    /// The changes at these places.
    async fn ask_to_alter(
        &self,
        salted: &[Salted<'_>],
        open: Vec<usize>,
        round: Round,
    ) -> Vec<(usize, Result<(), Error>)> {
        let wanted = || open.iter().filter_map(|at| salted.get(*at));
        let request = AlterUserScramCredentialsRequest {
            deletions: wanted().filter_map(|it| it.deletion.clone()).collect(),
            upsertions: wanted().filter_map(|it| it.upsertion.clone()).collect(),
        };
        let answer = match self.cluster.call(To::Controller, Lane::General, request, round.left()).await {
            Ok(answer) => answer.body,
            Err(error) => return all_failed(open, &error),
        };
        let verdicts: HashMap<Str, _> = answer.results.into_iter().map(|it| (it.user.clone(), it)).collect();
        let outcome = |at: usize| {
            let user = salted.get(at).map_or("", |it| it.user);
            let it = verdicts.get(&Str::from(user)).ok_or_else(|| unanswered(&user))?;
            let code = ErrorCode(it.error_code).ok();
            code.map_err(|code| Error::broker_says(code, it.error_message.as_deref()))
        };
        open.iter().map(|at| (*at, outcome(*at))).collect()
    }
}

/// The places of changes that can be made together, in order.
fn one_of_each_user(changes: &[ScramChange]) -> Vec<Vec<usize>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut together: Vec<Vec<usize>> = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        let times = seen.entry(change.user()).or_default();
        if *times == together.len() {
            together.push(Vec::new());
        }
        if let Some(places) = together.get_mut(*times) {
            places.push(at);
        }
        *times += 1;
    }
    together
}

fn salt() -> Vec<u8> {
    let mut salt = vec![0; SALT_BYTES];
    rand::rng().fill_bytes(&mut salt);
    salt
}

/// A change as it is sent, the same with every try.
struct Salted<'a> {
    user: &'a str,
    deletion: Option<ScramCredentialDeletion>,
    upsertion: Option<ScramCredentialUpsertion>,
}

impl<'a> Salted<'a> {
    fn of(change: &'a ScramChange, salt: Vec<u8>) -> Self {
        let (mut deletion, mut upsertion) = (None, None);
        let name = Str::from(change.user());
        match change {
            ScramChange::Delete { mechanism, .. } => {
                deletion = Some(ScramCredentialDeletion { name, mechanism: mechanism.number() });
            }
            ScramChange::Set { mechanism, password, iterations, .. } => {
                upsertion = Some(ScramCredentialUpsertion {
                    name,
                    mechanism: mechanism.number(),
                    iterations: i32::try_from(*iterations).unwrap_or(i32::MAX),
                    salted_password: mechanism.hash().salted_password(password.reveal(), &salt, *iterations).into(),
                    salt: salt.into(),
                });
            }
        }
        Self { user: change.user(), deletion, upsertion }
    }
}

fn credentials(result: DescribeUserScramCredentialsResult) -> (String, Result<Vec<ScramCredential>, Error>) {
    let credential = |number: i8, iterations: i32| {
        let mechanism = ScramMechanism::of(number);
        mechanism
            .zip(u32::try_from(iterations).ok())
            .map(|(mechanism, iterations)| ScramCredential { mechanism, iterations })
    };
    let outcome = match ErrorCode(result.error_code).ok() {
        Err(code) => Err(Error::broker_says(code, result.error_message.as_deref())),
        Ok(()) => {
            let all = result.credential_infos.iter().map(|it| {
                let strange = || Error::protocol(std::io::Error::other(format!("no such SCRAM credential: {it:?}")));
                credential(it.mechanism, it.iterations).ok_or_else(strange)
            });
            let mut all: Result<Vec<ScramCredential>, Error> = all.collect();
            // Brokers tell them in any order.
            all.iter_mut().for_each(|all| all.sort_unstable_by_key(|it| it.mechanism));
            all
        }
    };
    let named = |error: Error| error.of(DescribeUserScramCredentialsRequest::NAME);
    (result.user.to_string(), outcome.map_err(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(user: &str) -> ScramChange {
        ScramChange::Set {
            user: user.to_owned(),
            mechanism: ScramMechanism::Sha512,
            password: "hunter2".into(),
            iterations: ScramChange::ITERATIONS,
        }
    }

    #[test]
    fn a_password_is_seen_nowhere() {
        let change = set("bob");
        let sent = format!("{change:?} {:?}", Salted::of(&change, vec![7; 4]).upsertion);
        assert!(!sent.contains("hunter2") && sent.contains("(64 bytes)"), "{sent}");
    }

    #[test]
    fn a_request_changes_a_user_once() {
        let check = |users: &str, expect: &[&[usize]]| {
            let changes: Vec<ScramChange> = users.split_whitespace().map(set).collect();
            assert_eq!(one_of_each_user(&changes), expect, "{users}");
        };
        check("", &[]);
        check("a b c", &[&[0, 1, 2]]);
        check("a a b a", &[&[0, 2], &[1], &[3]]);
    }
}
