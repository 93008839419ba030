//! SCRAM (RFC 5802) with SHA-256 (RFC 7677) and SHA-512: both sides show that they know the password, and neither says it.
//!
//! A client goes from [`ClientFirst`] to [`ClientLast`], each with what it says; the second checks the server's proof. A
//! server keeps a [`Credential`], from which the password cannot be had, and answers through [`Challenge`].
//!
//! What must stay true: a server that does not know the password is found out before anything is sent over the connection;
//! and nobody makes us hash for longer than [`ITERATIONS`] allows, or for so short that the password is given away.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

use super::{Mechanism, SaslError, same};

/// The iterations that are accepted. RFC 7677 and Kafka ask for no fewer than 4,096; Kafka makes no credentials with more than
/// 16,384, others do; more than a million would let a hostile server keep us busy for seconds.
pub const ITERATIONS: RangeInclusive<u32> = 4_096..=1_000_000;

/// No channel binding, and no acting as somebody else: `n,,`, which the last message repeats in base 64.
const NO_BINDING: &str = "n,,";
const NO_BINDING_BASE64: &str = "biws";

/// The hash that a SCRAM mechanism is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    /// `None` for a mechanism that is not of this family.
    pub fn of(mechanism: Mechanism) -> Option<Self> {
        match mechanism {
            Mechanism::ScramSha256 => Some(Self::Sha256),
            Mechanism::ScramSha512 => Some(Self::Sha512),
            Mechanism::Plain | Mechanism::OAuthBearer => None,
        }
    }

    /// `Hi` of the law: the slow step, which makes guessing passwords expensive.
    pub fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut salted = vec![0; self.bytes()];
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(password.as_bytes(), salt, iterations, &mut salted),
        }
        salted
    }

    fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn mac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, data),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, data),
        }
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)");
    mac.chain_update(data).finalize().into_bytes().to_vec()
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// A client that has spoken once.
#[derive(Debug)]
pub struct ClientFirst {
    hash: Hash,
    nonce: String,
    /// What was said, less the binding.
    bare: String,
}

impl ClientFirst {
    /// `nonce` is drawn at random for this exchange, printable, and without a comma.
    pub fn new(hash: Hash, user: &str, nonce: String) -> Result<Self, SaslError> {
        if user.is_empty() {
            return Err(SaslError::Unsayable("a user name is needed"));
        }
        let bare = format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"));
        Ok(Self { hash, nonce, bare })
    }

    pub fn message(&self) -> Vec<u8> {
        format!("{NO_BINDING}{}", self.bare).into_bytes()
    }

    /// What to say to the server's first message, and what to check its last one with. Slow by design.
    pub fn answer(self, server_first: &[u8], password: &str) -> Result<(Vec<u8>, ClientLast), SaslError> {
        let server_first = text(server_first)?;
        let said = ServerFirst::parse(server_first)?;
        if !said.nonce.starts_with(&self.nonce) || said.nonce.len() == self.nonce.len() {
            return Err(SaslError::Malformed("the server's nonce does not go on from ours"));
        }
        let salted = self.hash.salted_password(password, &said.salt, said.iterations);
        let without_proof = format!("c={NO_BINDING_BASE64},r={}", said.nonce);
        let spoken = format!("{},{server_first},{without_proof}", self.bare);
        let client_key = self.hash.mac(&salted, b"Client Key");
        let signature = self.hash.mac(&self.hash.hash(&client_key), spoken.as_bytes());
        let proof = BASE64.encode(xor(&client_key, &signature));
        let server_key = self.hash.mac(&salted, b"Server Key");
        let last = ClientLast { server_signature: self.hash.mac(&server_key, spoken.as_bytes()) };
        Ok((format!("{without_proof},p={proof}").into_bytes(), last))
    }
}

/// A client that has proved itself and waits for the server to do so.
#[derive(Debug)]
pub struct ClientLast {
    server_signature: Vec<u8>,
}

impl ClientLast {
    /// Whether the server knows the password, too.
    pub fn check(&self, server_final: &[u8]) -> Result<(), SaslError> {
        let said = text(server_final)?;
        if let Some(why) = said.strip_prefix("e=") {
            return Err(SaslError::Refused(why.split(',').next().unwrap_or(why).to_owned()));
        }
        let proof = said.strip_prefix("v=").ok_or(SaslError::Malformed("the server's last message has no proof"))?;
        let proof = decoded(proof.split(',').next().unwrap_or(proof))?;
        if same(&proof, &self.server_signature) { Ok(()) } else { Err(SaslError::Impostor) }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    /// Nonce, salt and iterations, in this order; extensions may follow, unless the first thing said is a mandatory one.
    fn parse(said: &'a str) -> Result<Self, SaslError> {
        if let Some(why) = said.strip_prefix("e=") {
            return Err(SaslError::Refused(why.to_owned()));
        }
        let malformed = || SaslError::Malformed("the server's first message is not nonce, salt and iterations");
        let mut parts = said.split(',');
        let mut next = |name| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(malformed);
        let (nonce, salt, iterations) = (next("r=")?, decoded(next("s=")?)?, next("i=")?);
        if salt.is_empty() {
            return Err(malformed());
        }
        let iterations = iterations.parse().map_err(|_| malformed())?;
        if !ITERATIONS.contains(&iterations) {
            return Err(SaslError::Iterations { iterations });
        }
        Ok(Self { nonce, salt, iterations })
    }
}

/// What a server keeps of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub hash: Hash,
    pub salt: Vec<u8>,
    pub iterations: u32,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
}

impl Credential {
    /// Slow by design.
    pub fn new(hash: Hash, password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        Self::from_salted(hash, &hash.salted_password(password, &salt, iterations), salt, iterations)
    }

    /// Of a password that somebody else has salted, so that it did not have to be told (KIP-554).
    pub fn from_salted(hash: Hash, salted: &[u8], salt: Vec<u8>, iterations: u32) -> Self {
        let stored_key = hash.hash(&hash.mac(salted, b"Client Key"));
        Self { hash, salt, iterations, stored_key, server_key: hash.mac(salted, b"Server Key") }
    }
}

/// A client's first message, as a server reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    pub user: String,
    nonce: String,
    bare: String,
}

impl Greeting {
    pub fn parse(message: &[u8]) -> Result<Self, SaslError> {
        let malformed = || SaslError::Malformed("the client's first message is not a name and a nonce without binding");
        let said = text(message)?;
        let (binding, rest) = said.split_once(',').ok_or_else(malformed)?;
        let (as_whom, bare) = rest.split_once(',').ok_or_else(malformed)?;
        if binding != "n" && binding != "y" {
            return Err(malformed());
        }
        let mut parts = bare.split(',');
        let mut next = |name| parts.next().and_then(|part| part.strip_prefix(name)).ok_or_else(malformed);
        let (user, nonce) = (next("n=")?, next("r=")?);
        let user = user.replace("=2C", ",").replace("=3D", "=");
        if user.is_empty() || nonce.is_empty() || !(as_whom.is_empty() || as_whom == format!("a={user}")) {
            return Err(malformed());
        }
        Ok(Self { user, nonce: nonce.to_owned(), bare: bare.to_owned() })
    }

    /// What to say to it, and what to judge the answer by. `nonce` is drawn at random for this exchange.
    pub fn challenge(self, credential: Credential, nonce: &str) -> (Vec<u8>, Challenge) {
        let nonce = format!("{}{nonce}", self.nonce);
        let first = format!("r={nonce},s={},i={}", BASE64.encode(&credential.salt), credential.iterations);
        let spoken = format!("{},{first}", self.bare);
        (first.into_bytes(), Challenge { credential, nonce, spoken })
    }
}

/// A server that has asked for the proof.
#[derive(Debug)]
pub struct Challenge {
    credential: Credential,
    nonce: String,
    /// Both messages so far, which the proofs are about.
    spoken: String,
}

impl Challenge {
    /// The server's own proof, for a client that has given a right one.
    pub fn judge(self, client_final: &[u8]) -> Result<Vec<u8>, SaslError> {
        let said = text(client_final)?;
        let malformed = || SaslError::Malformed("the client's last message is not binding, nonce and proof");
        let (without_proof, proof) = said.rsplit_once(",p=").ok_or_else(malformed)?;
        let (binding, nonce) = without_proof.split_once(",r=").ok_or_else(malformed)?;
        let binding = decoded(binding.strip_prefix("c=").ok_or_else(malformed)?)?;
        if !(binding.starts_with(b"n,") || binding.starts_with(b"y,")) || nonce != self.nonce {
            return Err(malformed());
        }
        let Credential { hash, stored_key, server_key, .. } = self.credential;
        let spoken = format!("{},{without_proof}", self.spoken);
        let client_key = xor(&decoded(proof)?, &hash.mac(&stored_key, spoken.as_bytes()));
        if !same(&hash.hash(&client_key), &stored_key) {
            return Err(SaslError::WrongCredentials);
        }
        Ok(format!("v={}", BASE64.encode(hash.mac(&server_key, spoken.as_bytes()))).into_bytes())
    }
}

fn text(message: &[u8]) -> Result<&str, SaslError> {
    std::str::from_utf8(message).map_err(|_| SaslError::Malformed("the message is not UTF-8"))
}

fn decoded(base64: &str) -> Result<Vec<u8>, SaslError> {
    BASE64.decode(base64).map_err(|_| SaslError::Malformed("something that must be base 64 is not"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn first(hash: Hash) -> Result<ClientFirst, SaslError> {
        ClientFirst::new(hash, "user", CLIENT_NONCE.to_owned())
    }

    /// Both sides against the example of RFC 7677, section 3; with SHA-512, what another implementation makes of it.
    #[test]
    fn the_example_of_the_law() -> Result<(), SaslError> {
        let check = |hash, proof: &str, server_proof: &str| -> Result<(), SaslError> {
            let last = format!("c=biws,r={CLIENT_NONCE}{SERVER_NONCE},p={proof}");
            let client = first(hash)?;
            assert_eq!(client.message(), format!("n,,n=user,r={CLIENT_NONCE}").as_bytes());
            let credential = Credential::new(hash, "pencil", decoded(SALT)?, 4096);
            let greeting = Greeting::parse(&client.message())?;
            assert_eq!(greeting.user, "user");
            let (server_first, challenge) = greeting.challenge(credential, SERVER_NONCE);
            assert_eq!(server_first, SERVER_FIRST.as_bytes());
            let (client_final, client) = client.answer(&server_first, "pencil")?;
            assert_eq!(String::from_utf8_lossy(&client_final), last);
            let server_final = challenge.judge(&client_final)?;
            assert_eq!(String::from_utf8_lossy(&server_final), format!("v={server_proof}"));
            client.check(&server_final)
        };
        check(
            Hash::Sha256,
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        )?;
        check(
            Hash::Sha512,
            "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
            "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
        )
    }

    #[test]
    fn names_are_escaped_and_read_back() -> Result<(), SaslError> {
        for user in ["a", "a,b=c", "=2C", "=3D,", "Ärger"] {
            let client = ClientFirst::new(Hash::Sha256, user, "n".to_owned())?;
            assert_eq!(Greeting::parse(&client.message())?.user, user);
        }
        assert!(ClientFirst::new(Hash::Sha256, "", "n".to_owned()).is_err());
        Ok(())
    }

    #[test]
    fn a_wrong_password_is_found_out_by_the_server() -> Result<(), SaslError> {
        let credential = Credential::new(Hash::Sha256, "pencil", vec![1], 4096);
        let (server_first, challenge) = Greeting::parse(&first(Hash::Sha256)?.message())?.challenge(credential, "s");
        let (client_final, _) = first(Hash::Sha256)?.answer(&server_first, "crayon")?;
        assert_eq!(challenge.judge(&client_final), Err(SaslError::WrongCredentials));
        Ok(())
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out_by_the_client() -> Result<(), SaslError> {
        let (_, last) = first(Hash::Sha256)?.answer(SERVER_FIRST.as_bytes(), "pencil")?;
        let check = |said: &str, want: Result<(), SaslError>| assert_eq!(last.check(said.as_bytes()), want, "{said}");
        check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", Ok(()));
        check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,x=1", Ok(()));
        check("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", Err(SaslError::Impostor));
        check("v=", Err(SaslError::Impostor));
        check("e=unknown-user", Err(SaslError::Refused("unknown-user".to_owned())));
        assert!(last.check(b"").is_err());
        assert!(last.check(b"v=?").is_err());
        Ok(())
    }

    #[test]
    fn a_first_message_that_is_not_lawful_is_refused() -> Result<(), SaslError> {
        let check = |said: &str, want: &str| {
            let got = first(Hash::Sha256).and_then(|client| client.answer(said.as_bytes(), "pencil"));
            let got = got.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(got.contains(want), "{said}: {got}");
        };
        let with = |rest: &str| format!("r={CLIENT_NONCE}{SERVER_NONCE},{rest}");
        check(&with("s=W22Z,i=4095"), "4095 iterations");
        check(&with("s=W22Z,i=1000001"), "1000001 iterations");
        check(&with("s=W22Z,i=99999999999"), "not nonce, salt and iterations");
        check(&with("s=W22Z,i=-1"), "not nonce, salt and iterations");
        check(&with("s=,i=4096"), "not nonce, salt and iterations");
        check(&with("i=4096,s=W22Z"), "not nonce, salt and iterations");
        check(&with("s=?,i=4096"), "base 64");
        check(&format!("m=must,{}", with("s=W22Z,i=4096")), "not nonce, salt and iterations");
        check(&format!("r={CLIENT_NONCE},s=W22Z,i=4096"), "does not go on from ours");
        check("r=another,s=W22Z,i=4096", "does not go on from ours");
        check("e=other-error", "other-error");
        check("", "not nonce, salt and iterations");
        Ok(())
    }

    #[test]
    fn a_client_that_is_not_lawful_is_refused() {
        for said in ["", "n", "n,,", "n,,n=u", "n,,r=x,n=u", "p=tls-unique,,n=u,r=x", "n,a=v,n=u,r=x", "n,,n=,r=x"] {
            assert!(Greeting::parse(said.as_bytes()).is_err(), "{said}");
        }
        for said in
            ["", "c=biws", "c=biws,r=x,p=", "c=biws,r=another,p=AAAA", "c=????,r=xs,p=AAAA", "c=cD0,r=xs,p=AAAA"]
        {
            let credential = Credential::new(Hash::Sha256, "p", vec![1], 4096);
            let greeting = Greeting::parse(b"n,,n=u,r=x").expect("a lawful greeting");
            let (_, challenge) = greeting.challenge(credential, "s");
            assert!(challenge.judge(said.as_bytes()).is_err(), "{said}");
        }
    }
}
