//! How a cluster is reached securely, and who we are there: what was typed, as the client's own values.

use std::sync::Arc;

use super::{Failure, Status};
use crate::cli::{Cluster, Door, SaslMechanism};
use crate::client::{Login, Oidc, OidcConfig, Password, Sasl, Secret, Tls, TlsOptions, TokenFile, TokenSource};
use crate::devbroker::{self, Mechanism, SaslConfig, User};

/// The environment variable that a password may come in: unlike a flag, other users of the machine cannot read it.
pub(super) const PASSWORD: &str = "HIGHWATER_SASL_PASSWORD";

/// TLS, if any flag of it is given.
pub(super) fn tls(cluster: &Cluster) -> Result<Option<Tls>, Failure> {
    let options = TlsOptions {
        ca_file: cluster.tls_ca.clone(),
        cert_file: cluster.tls_cert.clone(),
        key_file: cluster.tls_key.clone(),
        server_name: cluster.tls_server_name.clone(),
    };
    if !cluster.tls && options == TlsOptions::default() {
        return Ok(None);
    }
    Tls::new(options).map(Some).map_err(Failure::of(Status::Config))
}

/// SASL, if a mechanism is given.
pub(super) fn sasl(cluster: &Cluster, password: Option<String>) -> Result<Option<Sasl>, Failure> {
    let Some(mechanism) = cluster.sasl_mechanism else { return Ok(None) };
    match mechanism {
        SaslMechanism::Plain => login(cluster, password).map(Sasl::Plain),
        SaslMechanism::ScramSha256 => login(cluster, password).map(Sasl::ScramSha256),
        SaslMechanism::ScramSha512 => login(cluster, password).map(Sasl::ScramSha512),
        SaslMechanism::OAuthBearer => tokens(cluster, password).map(Sasl::OAuthBearer),
    }
    .map(Some)
}

fn wrong(what: &str) -> Failure {
    Failure::new(Status::Usage, what)
}

fn login(cluster: &Cluster, password: Option<String>) -> Result<Login, Failure> {
    if cluster.sasl_token_file.is_some() || cluster.sasl_token_endpoint.is_some() {
        return Err(wrong("tokens are for OAUTHBEARER"));
    }
    name_and_password(cluster, password)
}

fn name_and_password(cluster: &Cluster, password: Option<String>) -> Result<Login, Failure> {
    let user = cluster.sasl_username.clone().ok_or_else(|| wrong("this SASL mechanism needs --sasl-username"))?;
    let password = match (&cluster.sasl_password_file, password) {
        (Some(file), _) => Password::File(file.clone()),
        (None, Some(password)) => Password::Given(Secret::from(password)),
        (None, None) => return Err(wrong(&format!("give the password in --sasl-password-file or in {PASSWORD}"))),
    };
    Ok(Login { user, password })
}

fn tokens(cluster: &Cluster, secret: Option<String>) -> Result<Arc<dyn TokenSource>, Failure> {
    match (&cluster.sasl_token_file, &cluster.sasl_token_endpoint) {
        (Some(file), _) if cluster.sasl_username.is_none() && cluster.sasl_password_file.is_none() => {
            Ok(Arc::new(TokenFile::new(file)))
        }
        (Some(_), _) => Err(wrong("--sasl-token-file is in place of --sasl-username and --sasl-password-file")),
        (None, Some(endpoint)) => provider(cluster, endpoint, secret),
        (None, None) => Err(wrong("OAUTHBEARER needs --sasl-token-file or --sasl-token-endpoint")),
    }
}

fn provider(cluster: &Cluster, endpoint: &str, secret: Option<String>) -> Result<Arc<dyn TokenSource>, Failure> {
    let Login { user, password } = name_and_password(cluster, secret)?;
    let trusted = TlsOptions { ca_file: cluster.sasl_token_ca.clone(), ..TlsOptions::default() };
    let tls = Tls::new(trusted).map_err(Failure::of(Status::Config))?;
    let config = OidcConfig { scope: cluster.sasl_scope.clone(), ..OidcConfig::new(endpoint, user, password, tls) };
    Ok(Arc::new(Oidc::new(config).map_err(Failure::of(Status::Usage))?))
}

/// What the dev broker asks its clients for.
pub(super) fn door(door: &Door) -> Result<(Option<devbroker::TlsOptions>, Option<SaslConfig>), Failure> {
    let tls = door.tls_cert.clone().zip(door.tls_key.clone()).map(|(cert_file, key_file)| devbroker::TlsOptions {
        cert_file,
        key_file,
        client_ca_file: door.tls_client_ca.clone(),
    });
    let Some(file) = &door.sasl_users else { return Ok((tls, None)) };
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string());
    let users = text.and_then(|text| users(&text));
    let users = users.map_err(|why| Failure::new(Status::Config, format!("{}: {why}", file.display())))?;
    let sasl = SaslConfig { mechanisms: Mechanism::ALL.to_vec(), users, session_lifetime: door.sasl_session };
    Ok((tls, Some(sasl)))
}

/// One `NAME:PASSWORD` a line. A line that is wrong is named by its number: it may hold a password.
fn users(text: &str) -> Result<Vec<User>, String> {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
    let user = |(number, line): (u32, &str)| match line.split_once(':') {
        Some((name, password)) if !name.is_empty() && !password.is_empty() => Ok(User::new(name, password)),
        _ => Err(format!("line {number} is not NAME:PASSWORD")),
    };
    lines.map(user).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn cluster(flags: &str) -> Result<Cluster, String> {
        let typed = ["highwater", "generate", "-b", "h:1"].into_iter().chain(flags.split_whitespace());
        match Cli::try_parse_from(typed).map_err(|error| error.to_string())?.command {
            Command::Generate(generate) => Ok(generate.cluster),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn flags_become_credentials() {
        let check = |flags: &str, password: Option<&str>, want: &str| {
            let got = cluster(flags).and_then(|cluster| {
                let sasl = sasl(&cluster, password.map(str::to_owned)).map_err(|failure| failure.to_string())?;
                Ok(format!("{sasl:?}"))
            });
            let got = got.unwrap_or_else(|error| error);
            assert!(got.contains(want), "{flags}: {got}");
            assert!(!got.contains("hunter2"), "{got}");
        };
        check("", Some("hunter2"), "None");
        let plain = "--sasl-mechanism PLAIN --sasl-username u";
        check(plain, Some("hunter2"), r#"Plain(Login { user: "u", password: Given(Secret) })"#);
        check(&format!("{plain} --sasl-password-file p"), Some("hunter2"), r#"File("p")"#);
        check(plain, None, "give the password in --sasl-password-file or in HIGHWATER_SASL_PASSWORD");
        check("--sasl-mechanism scram-sha-256 --sasl-username u", Some("hunter2"), "ScramSha256");
        check("--sasl-mechanism SCRAM-SHA-512 --sasl-username u", Some("hunter2"), "ScramSha512");
        check("--sasl-mechanism SCRAM-SHA-512", Some("hunter2"), "needs --sasl-username");
        check("--sasl-mechanism OAUTHBEARER --sasl-token-file t", None, r#"TokenFile { file: "t""#);
        check("--sasl-mechanism OAUTHBEARER", None, "needs --sasl-token-file");
        let endpoint = "--sasl-mechanism OAUTHBEARER --sasl-token-endpoint https://idp/t --sasl-scope s \
                        --sasl-token-ca src/tls/testdata/ca.pem";
        check(&format!("{endpoint} --sasl-username id"), Some("hunter2"), r#"client_id: "id""#);
        check(&format!("{endpoint} --sasl-username id"), None, "give the password");
        check(endpoint, Some("hunter2"), "--sasl-username");
        check(&format!("{endpoint} --sasl-username id --sasl-token-file t"), None, "cannot be used with");
        check("--sasl-mechanism OAUTHBEARER --sasl-token-file t --sasl-username u", None, "in place of");
        check(&format!("{plain} --sasl-token-file t"), Some("hunter2"), "tokens are for OAUTHBEARER");
        check("--sasl-mechanism GSSAPI", None, "possible values: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER");
        check("--sasl-username u", None, "--sasl-mechanism");
    }

    #[test]
    fn users_are_read_from_lines() {
        let check = |text: &str, want: Result<&[(&str, &str)], &str>| {
            let got = users(text);
            let got = got.as_ref().map(|users| users.iter().map(|it| (it.name.as_str(), it.password.reveal())));
            assert_eq!(got.map(Iterator::collect::<Vec<_>>).map_err(String::as_str), want.map(<[_]>::to_vec), "{text}");
        };
        check("", Ok(&[]));
        check("alice:a:b\n\nbob: c \n", Ok(&[("alice", "a:b"), ("bob", " c ")]));
        check("alice:a\nhunter2\n", Err("line 2 is not NAME:PASSWORD"));
        check(":hunter2", Err("line 1 is not NAME:PASSWORD"));
    }

    #[test]
    fn tls_is_spoken_when_any_of_its_flags_is_given() {
        let check = |flags: &str, want: &str| {
            let got = cluster(flags).and_then(|cluster| tls(&cluster).map_err(|failure| failure.to_string()));
            let got = got.map_or_else(|error| error, |tls| format!("{:?}", tls.is_some()));
            assert!(got.contains(want), "{flags}: {got}");
        };
        check("", "false");
        check("--tls-ca no-such-file.pem", "no-such-file.pem: cannot be read");
        check("--tls-ca src/tls/testdata/ca.pem", "true");
        check("--tls-ca src/tls/testdata/ca.pem --tls-server-name kafka", "true");
        check("--tls-cert a", "--tls-key");
        check("--tls-key a", "--tls-cert");
        check(
            "--tls-ca src/tls/testdata/ca.pem --tls-cert src/tls/testdata/client.pem --tls-key src/tls/testdata/encrypted.key.pem",
            "is encrypted",
        );
    }
}
