//! What is kept of users' passwords for SCRAM, and how that is changed (KIP-554, `ScramControlManager`): pure, and never the
//! password.
//!
//! The users of the config are there from the start of each life of the broker, and are not written down; what is made,
//! changed or removed by request is, and comes before them.

use std::collections::{BTreeMap, BTreeSet};

use super::door::SaslConfig;
use super::handlers::Refused;
use super::journal::Entry;
use crate::message;
use crate::protocol::error::ErrorCode;
use crate::protocol::message::Concealed;
use crate::protocol::messages::{
    AlterUserScramCredentialsRequest, DescribeUserScramCredentialsResult, ScramCredentialDeletion, ScramCredentialInfo,
    ScramCredentialUpsertion,
};
use crate::protocol::sasl::Mechanism;
use crate::protocol::sasl::scram::{Credential, Hash};
use crate::protocol::types::Str;

/// Of the credentials that are made at the start, as many as Kafka's tools make them with.
const ITERATIONS: u32 = 4096;
/// What Kafka takes.
const ITERATIONS_TAKEN: std::ops::RangeInclusive<i32> = 4096..=16384;

message! { /// A user's credential as it is now.
pub struct ScramEntry { user: Str, 0..; mechanism: i8, 0..; iterations: i32, 0..; salt: Concealed, 0..; stored_key: Concealed, 0..; server_key: Concealed, 0..; } }
message! { /// A user's credential that is gone.
pub struct ScramRemovedEntry { user: Str, 0..; mechanism: i8, 0..; } }

/// Whose credential, and the number of its mechanism.
type Key = (Str, i8);

/// The SCRAM credentials of all users.
#[derive(Debug, Default)]
pub struct Users {
    configured: BTreeMap<Key, Credential>,
    made: BTreeMap<Key, Credential>,
    /// Of the config, and removed by request.
    removed: BTreeSet<Key>,
}

impl Users {
    /// Makes the credentials of the config's users, for the mechanisms that are offered. Slow by design.
    pub fn of(config: Option<&SaslConfig>, mut salt: impl FnMut() -> [u8; 16]) -> Users {
        let mut users = Users::default();
        for (mechanism, user) in
            config.iter().flat_map(|it| it.mechanisms.iter().flat_map(|m| it.users.iter().map(move |u| (m, u))))
        {
            let Some(hash) = Hash::of(*mechanism) else { continue };
            let credential = Credential::new(hash, user.password.reveal(), salt().to_vec(), ITERATIONS);
            users.configured.insert((Str::from(user.name.as_str()), number(hash)), credential);
        }
        users
    }

    /// What a proof is judged by.
    pub fn credential(&self, mechanism: Mechanism, user: &str) -> Option<&Credential> {
        let key = (Str::from(user), number(Hash::of(mechanism)?));
        self.made.get(&key).or_else(|| self.configured.get(&key))
    }

    /// What these users have; all users, if none is named.
    pub fn describe(&self, wanted: &[Str]) -> Vec<DescribeUserScramCredentialsResult> {
        let mut times: BTreeMap<Str, usize> = BTreeMap::new();
        wanted.iter().for_each(|user| *times.entry(user.clone()).or_default() += 1);
        if wanted.is_empty() {
            times = self.keys().map(|(user, _)| (user, 1)).collect();
        }
        times.into_iter().map(|(user, times)| self.describe_one(user, times > 1)).collect()
    }

    fn describe_one(&self, user: Str, is_repeated: bool) -> DescribeUserScramCredentialsResult {
        let result = DescribeUserScramCredentialsResult { error_message: None, user, ..Default::default() };
        let refused = |error: ErrorCode, words: &str, result: DescribeUserScramCredentialsResult| {
            let error_message = Some(Str::from(format!("{words}: {}", result.user)));
            DescribeUserScramCredentialsResult { error_code: error.into(), error_message, ..result }
        };
        if is_repeated {
            let words = "Cannot describe SCRAM credentials for the same user twice in a single request";
            return refused(ErrorCode::DUPLICATE_RESOURCE, words, result);
        }
        let has = |mechanism: i8| {
            let key = (result.user.clone(), mechanism);
            let iterations = self.made.get(&key).or_else(|| self.configured.get(&key))?.iterations;
            Some(ScramCredentialInfo { mechanism, iterations: i32::try_from(iterations).unwrap_or(i32::MAX) })
        };
        let credential_infos: Vec<_> = [1, 2].into_iter().filter_map(has).collect();
        if credential_infos.is_empty() {
            let words = "Attempt to describe a user credential that does not exist";
            return refused(ErrorCode::RESOURCE_NOT_FOUND, words, result);
        }
        DescribeUserScramCredentialsResult { credential_infos, ..result }
    }

    /// Decides on changes: for each user what to write down, or why not. Nothing has changed yet.
    pub fn decide(&self, request: &AlterUserScramCredentialsRequest) -> BTreeMap<Str, Result<Entry, Refused>> {
        let mut decided: BTreeMap<Str, Result<Entry, Refused>> = BTreeMap::new();
        let deletions = request.deletions.iter().map(|it| (&it.name, self.deletion(it)));
        let upsertions = request.upsertions.iter().map(|it| (&it.name, upsertion(it)));
        for (user, change) in deletions.chain(upsertions) {
            let change = match decided.get(user) {
                None => change,
                // The first thing that is wrong is the one that is told.
                Some(Err(_)) => continue,
                Some(Ok(_)) => {
                    let words = "A user credential cannot be altered twice in the same request";
                    Err(Refused::new(ErrorCode::DUPLICATE_RESOURCE, words))
                }
            };
            decided.insert(user.clone(), change);
        }
        decided
    }

    fn deletion(&self, it: &ScramCredentialDeletion) -> Result<Entry, Refused> {
        check(&it.name, it.mechanism)?;
        if !self.keys().any(|(user, mechanism)| (&user, mechanism) == (&it.name, it.mechanism)) {
            let words = "Attempt to delete a user credential that does not exist";
            return Err(Refused::new(ErrorCode::RESOURCE_NOT_FOUND, words));
        }
        Ok(ScramRemovedEntry { user: it.name.clone(), mechanism: it.mechanism }.into())
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        self.configured.keys().chain(self.made.keys()).cloned().collect::<BTreeSet<Key>>().into_iter()
    }

    /// Takes in what was written down.
    pub fn replay(&mut self, entry: &Entry) {
        match entry {
            Entry::Scram(it) => {
                if let Some((key, credential)) = restored(it) {
                    self.made.insert(key, credential);
                }
            }
            Entry::ScramRemoved(it) => {
                let key = (it.user.clone(), it.mechanism);
                self.made.remove(&key);
                if self.configured.remove(&key).is_some() {
                    self.removed.insert(key);
                }
            }
            _ => {}
        }
    }

    /// Everything that a fresh journal must say of users.
    pub fn snapshot(&self) -> impl Iterator<Item = Entry> {
        let removed = self.removed.iter().cloned();
        let removed = removed.map(|(user, mechanism)| ScramRemovedEntry { user, mechanism }.into());
        let made = self.made.iter().map(|((user, mechanism), it)| entry(user.clone(), *mechanism, it));
        removed.chain(made)
    }
}

/// The numbers of KIP-554.
fn number(hash: Hash) -> i8 {
    match hash {
        Hash::Sha256 => 1,
        Hash::Sha512 => 2,
    }
}

fn hash(number: i8) -> Option<Hash> {
    [Hash::Sha256, Hash::Sha512].into_iter().find(|it| self::number(*it) == number)
}

/// The hash of a change that is about somebody, and a mechanism that there is.
fn check(user: &str, mechanism: i8) -> Result<Hash, Refused> {
    if user.is_empty() {
        return Err(Refused::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, "Username must not be empty"));
    }
    hash(mechanism).ok_or_else(|| Refused::new(ErrorCode::UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism"))
}

fn upsertion(it: &ScramCredentialUpsertion) -> Result<Entry, Refused> {
    let hash = check(&it.name, it.mechanism)?;
    let refused = |words: &str| Err(Refused::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, words));
    if it.iterations < *ITERATIONS_TAKEN.start() {
        return refused("Too few iterations");
    }
    if it.iterations > *ITERATIONS_TAKEN.end() {
        return refused("Too many iterations");
    }
    let iterations = u32::try_from(it.iterations).unwrap_or(ITERATIONS);
    let credential = Credential::from_salted(hash, &it.salted_password.0, it.salt.to_vec(), iterations);
    Ok(entry(it.name.clone(), it.mechanism, &credential))
}

fn entry(user: Str, mechanism: i8, credential: &Credential) -> Entry {
    ScramEntry {
        user,
        mechanism,
        iterations: i32::try_from(credential.iterations).unwrap_or(i32::MAX),
        salt: credential.salt.clone().into(),
        stored_key: credential.stored_key.clone().into(),
        server_key: credential.server_key.clone().into(),
    }
    .into()
}

fn restored(it: &ScramEntry) -> Option<(Key, Credential)> {
    let credential = Credential {
        hash: hash(it.mechanism)?,
        salt: it.salt.0.to_vec(),
        iterations: u32::try_from(it.iterations).ok()?,
        stored_key: it.stored_key.0.to_vec(),
        server_key: it.server_key.0.to_vec(),
    };
    Some(((it.user.clone(), it.mechanism), credential))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devbroker::door::User;

    fn users() -> Users {
        let mechanisms = vec![Mechanism::Plain, Mechanism::ScramSha256];
        let config = SaslConfig { mechanisms, users: vec![User::new("alice", "secret")], session_lifetime: None };
        Users::of(Some(&config), || [7; 16])
    }

    /// Changes like `+bob/1/4096 -alice/1`, in one request.
    fn request(words: &str) -> AlterUserScramCredentialsRequest {
        let mut request = AlterUserScramCredentialsRequest::default();
        for word in words.split_whitespace() {
            let mut parts = word[1..].split('/');
            let name = Str::from(parts.next().unwrap());
            let mut number = || parts.next().map_or(0, |it| it.parse::<i32>().unwrap());
            let mechanism = number() as i8;
            if word.starts_with('-') {
                request.deletions.push(ScramCredentialDeletion { name, mechanism });
                continue;
            }
            let salted = Hash::Sha256.salted_password("pencil", b"salt", 4096);
            request.upsertions.push(ScramCredentialUpsertion {
                name,
                mechanism,
                iterations: number(),
                salt: b"salt".to_vec().into(),
                salted_password: salted.into(),
            });
        }
        request
    }

    /// What becomes of a request: each user's code.
    fn made(users: &mut Users, words: &str) -> String {
        let decided = users.decide(&request(words));
        let code = |(user, outcome): (Str, Result<Entry, Refused>)| match outcome {
            Ok(entry) => {
                users.replay(&entry);
                format!("{user}:ok")
            }
            Err(refused) => format!("{user}:{}", refused.error),
        };
        decided.into_iter().map(code).collect::<Vec<_>>().join(" ")
    }

    fn described(users: &Users, wanted: &str) -> String {
        let wanted: Vec<Str> = wanted.split_whitespace().map(Str::from).collect();
        let row = |it: DescribeUserScramCredentialsResult| {
            let infos = it.credential_infos.iter().map(|it| format!("{}/{}", it.mechanism, it.iterations));
            let infos = infos.collect::<Vec<_>>().join(",");
            if it.error_code == 0 {
                format!("{}={infos}", it.user)
            } else {
                format!("{}:{}", it.user, ErrorCode(it.error_code))
            }
        };
        users.describe(&wanted).into_iter().map(row).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_kafka_takes_and_refuses() {
        let check = |words: &str, want: &str| assert_eq!(made(&mut users(), words), want, "{words}");
        check("", "");
        check("+bob/1/4096 +carol/2/16384", "bob:ok carol:ok");
        check("+bob/1/4095 +carol/1/16385", "bob:UNACCEPTABLE_CREDENTIAL carol:UNACCEPTABLE_CREDENTIAL");
        check("+bob/0/4096 +carol/3/4096", "bob:UNSUPPORTED_SASL_MECHANISM carol:UNSUPPORTED_SASL_MECHANISM");
        check("+/1/4096", ":UNACCEPTABLE_CREDENTIAL");
        check("-alice/1 -bob/1", "alice:ok bob:RESOURCE_NOT_FOUND");
        check("-alice/2", "alice:RESOURCE_NOT_FOUND");
        check("+bob/1/4096 +bob/2/4096", "bob:DUPLICATE_RESOURCE");
        check("-alice/1 +alice/1/4096 +bob/1/4096", "alice:DUPLICATE_RESOURCE bob:ok");
        // The first thing that was wrong is told.
        check("+bob/1/1 +bob/2/4096", "bob:UNACCEPTABLE_CREDENTIAL");
    }

    #[test]
    fn what_is_told_of_users() {
        let mut users = users();
        assert_eq!(made(&mut users, "+bob/1/4096"), "bob:ok");
        assert_eq!(made(&mut users, "+bob/2/8192 +alice/1/5000"), "alice:ok bob:ok");
        let check = |wanted: &str, want: &str| assert_eq!(described(&users, wanted), want, "{wanted}");
        check("", "alice=1/5000 bob=1/4096,2/8192");
        check("bob eve", "bob=1/4096,2/8192 eve:RESOURCE_NOT_FOUND");
        check("bob bob alice", "alice=1/5000 bob:DUPLICATE_RESOURCE");
    }

    /// A credential made of a salted password is the one of the password, and survives being written down, again and again; so
    /// does it that a user of the config was removed.
    #[test]
    fn what_was_made_is_kept_and_proves_the_password() {
        let mut first = users();
        assert_eq!(made(&mut first, "+bob/1/4096 -alice/1"), "alice:ok bob:ok");
        assert_eq!(first.credential(Mechanism::ScramSha256, "alice"), None);
        let (mut second, mut next) = (users(), users());
        first.snapshot().for_each(|entry| second.replay(&entry));
        second.snapshot().for_each(|entry| next.replay(&entry));
        assert_eq!(described(&next, ""), "bob=1/4096");
        let want = Credential::new(Hash::Sha256, "pencil", b"salt".to_vec(), 4096);
        assert_eq!(next.credential(Mechanism::ScramSha256, "bob"), Some(&want));
        assert_eq!(next.credential(Mechanism::ScramSha512, "bob"), None);
        assert_eq!(next.credential(Mechanism::Plain, "bob"), None);
        let said = format!("{:?}", next.snapshot().collect::<Vec<_>>());
        assert!(said.contains("bob") && said.contains("(32 bytes)"), "{said}");
    }
}
