//! `highwater users`: who has a SCRAM credential, and changes to them, as `kafka-configs --entity-type users` and
//! `rpk security user` make them. A password is never a word of the command line, which others on the machine can read.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

use serde::Serialize;

use super::output::Row;
use super::session::{Session, settle};
use crate::app::{Failure, Status};
use crate::cli::{self, Output};
use crate::client::{Error, ScramChange, ScramCredential, ScramMechanism, Secret};

/// Longer files are not passwords.
const PASSWORD_BYTES_MAX: u64 = 64 << 10;

pub async fn users(verb: cli::Users) -> Result<(), Failure> {
    match verb {
        cli::Users::Describe(args) => describe(args).await,
        cli::Users::Alter(args) => alter(args).await,
        cli::Users::Delete(args) => delete(args).await,
    }
}

#[derive(Debug, Serialize)]
struct Shown {
    user: String,
    mechanism: String,
    iterations: u32,
}

impl Row for Shown {
    const HEAD: &'static [&'static str] = &["USER", "MECHANISM", "ITERATIONS"];

    fn cells(&self) -> Vec<String> {
        vec![self.user.clone(), self.mechanism.clone(), self.iterations.to_string()]
    }
}

/// A user, and a credential of theirs.
type Credential = (String, ScramCredential);

fn shown(credentials: Vec<Credential>) -> Vec<Shown> {
    let row = |(user, ScramCredential { mechanism, iterations })| {
        let mechanism = mechanism.to_string();
        Shown { user, mechanism, iterations }
    };
    credentials.into_iter().map(row).collect()
}

async fn describe(args: cli::DescribeUsers) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "users").await?;
    let (found, failures) = credentials(&session, &args.users, &[]).await?;
    settle(args.printing.output, &shown(found), failures)
}

/// The credentials of users, all or those for some mechanisms; and of whom there are none.
async fn credentials(
    session: &Session,
    users: &[String],
    mechanisms: &[ScramMechanism],
) -> Result<(Vec<Credential>, Vec<Failure>), Failure> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for (user, outcome) in session.admin.describe_scram_credentials(users).await? {
        match outcome {
            Ok(all) => {
                let wanted = |it: &ScramCredential| mechanisms.is_empty() || mechanisms.contains(&it.mechanism);
                let before = found.len();
                found.extend(all.into_iter().filter(wanted).map(|it| (user.clone(), it)));
                if found.len() == before {
                    failures.push(Failure::new(Status::Data, format!("user {user} has no such credential")));
                }
            }
            Err(error) => failures.push(about_user(&user, &error)),
        }
    }
    Ok((found, failures))
}

fn about_user(user: &str, error: &Error) -> Failure {
    Failure::new(Status::of(error), format!("user {user}: {error}"))
}

async fn alter(args: cli::AlterUsers) -> Result<(), Failure> {
    let password = password(args.password_file.as_deref())?;
    let session = Session::open(&args.asking, "users").await?;
    let wanted = wanted(&args);
    let set = |(user, ScramCredential { mechanism, iterations }): Credential| ScramChange::Set {
        user,
        mechanism,
        password: password.clone(),
        iterations,
    };
    carry_out(&session, args.printing.output, wanted, Vec::new(), set).await
}

/// Each user, with each mechanism once.
fn wanted(args: &cli::AlterUsers) -> Vec<Credential> {
    let mut mechanisms: Vec<ScramMechanism> = args.mechanisms.iter().copied().map(mechanism).collect();
    mechanisms.sort_unstable();
    mechanisms.dedup();
    let with = |mechanism| ScramCredential { mechanism, iterations: args.iterations };
    let of = |user: &String| mechanisms.iter().map(|it| (user.clone(), with(*it))).collect::<Vec<_>>();
    args.users.iter().flat_map(of).collect()
}

async fn delete(args: cli::DeleteUsers) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "users").await?;
    let mechanisms: Vec<ScramMechanism> = args.mechanisms.iter().copied().map(mechanism).collect();
    let (found, failures) = credentials(&session, &args.users, &mechanisms).await?;
    if args.dry_run {
        return settle(args.printing.output, &shown(found), failures);
    }
    let remove = |(user, ScramCredential { mechanism, .. }): Credential| ScramChange::Delete { user, mechanism };
    carry_out(&session, args.printing.output, found, failures, remove).await
}

/// Makes one change for each credential, and tells what became of it beside what had failed before.
async fn carry_out(
    session: &Session,
    output: Output,
    wanted: Vec<Credential>,
    mut failures: Vec<Failure>,
    change: impl Fn(Credential) -> ScramChange,
) -> Result<(), Failure> {
    let changes: Vec<ScramChange> = wanted.iter().cloned().map(change).collect();
    let outcomes = session.admin.alter_scram_credentials(&changes).await?;
    let mut done = Vec::new();
    for ((user, credential), (_, outcome)) in wanted.into_iter().zip(outcomes) {
        match outcome {
            Ok(()) => done.push((user, credential)),
            Err(error) => failures.push(about_user(&format!("{user} ({})", credential.mechanism), &error)),
        }
    }
    settle(output, &shown(done), failures)
}

fn mechanism(named: cli::ScramMechanism) -> ScramMechanism {
    match named {
        cli::ScramMechanism::Sha256 => ScramMechanism::Sha256,
        cli::ScramMechanism::Sha512 => ScramMechanism::Sha512,
    }
}

fn password(file: Option<&Path>) -> Result<Secret, Failure> {
    match file {
        Some(file) => {
            let named = |why: &dyn fmt::Display| format!("password file {}: {why}", file.display());
            let opened = File::open(file).map_err(|error| Failure::new(Status::NoInput, named(&error)))?;
            read(opened).map_err(|why| Failure::new(Status::Data, named(&why)))
        }
        None if io::stdin().is_terminal() => {
            let message = "give the password in --password-file or on standard input; there is no prompt for it";
            Err(Failure::new(Status::Usage, message))
        }
        None => read(io::stdin().lock())
            .map_err(|why| Failure::new(Status::Data, format!("the password on standard input: {why}"))),
    }
}

/// All of it, but for the line end after it.
fn read(from: impl Read) -> Result<Secret, String> {
    let mut text = String::new();
    let bytes = from.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if bytes as u64 > PASSWORD_BYTES_MAX {
        return Err(format!("more than {PASSWORD_BYTES_MAX} bytes are no password"));
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("it is empty".to_owned()),
        text if text.contains(['\r', '\n']) => Err("it has more than one line".to_owned()),
        text => Ok(Secret::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_read_without_their_line_end() {
        let check = |bytes: &[u8], expect: Result<&str, &str>| {
            let said = read(bytes).map(|it| it.reveal().to_owned());
            assert_eq!(said.as_deref().map_err(|it| &**it), expect, "{bytes:?}");
        };
        check(b"hunter2", Ok("hunter2"));
        check(b" hunter 2 \r\n", Ok(" hunter 2 "));
        check(b"\n", Err("it is empty"));
        check(b"", Err("it is empty"));
        check(b"hunter2\nbob\n", Err("it has more than one line"));
        check(&[0xff, 0xfe], Err("stream did not contain valid UTF-8"));
        check(&vec![b'x'; 70_000], Err("more than 65536 bytes are no password"));
    }

    #[test]
    fn a_password_file_that_is_not_there_is_named() {
        let failure = password(Some(Path::new("no/such/file"))).unwrap_err();
        assert_eq!(failure.status, Status::NoInput);
        assert!(failure.message.starts_with("password file no/such/file: "), "{failure}");
    }
}
