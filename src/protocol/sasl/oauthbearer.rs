//! OAUTHBEARER (RFC 7628), with Kafka's extensions (KIP-342): one message with a token that somebody else has signed.
//!
//! A server that refuses the token says why in JSON; the client acknowledges that with one byte, and only then does the
//! exchange fail.

use super::SaslError;

/// Parts the pieces of a message, and is all of the acknowledgement.
const SEPARATOR: char = '\u{1}';
/// What a client says to a refusal.
pub const ACKNOWLEDGEMENT: &[u8] = b"\x01";

/// What a client says.
pub fn message(token: &str, extensions: &[(String, String)]) -> Result<Vec<u8>, SaslError> {
    if !is_token(token) {
        return Err(SaslError::Unsayable("the token is empty, or has characters in it that no bearer token has"));
    }
    let mut said = format!("n,,{SEPARATOR}auth=Bearer {token}{SEPARATOR}");
    for (name, value) in extensions {
        if !is_extension(name, value) {
            return Err(SaslError::Unsayable(
                "an extension needs a name of letters, not `auth`, and a printable value",
            ));
        }
        said.extend([name, "=", value]);
        said.push(SEPARATOR);
    }
    said.push(SEPARATOR);
    Ok(said.into_bytes())
}

/// What a client has said: the token. Extensions are passed over.
pub fn parse(message: &[u8]) -> Result<&str, SaslError> {
    let malformed = SaslError::Malformed("the message is not a bearer token");
    let Ok(text) = std::str::from_utf8(message) else { return Err(malformed) };
    let mut parts = text.split(SEPARATOR);
    let unbound = parts.next().is_some_and(|binding| binding.starts_with("n,"));
    let auth = parts.find_map(|part| part.strip_prefix("auth=")).and_then(|auth| auth.split_once(' '));
    match auth {
        Some((scheme, token)) if unbound && scheme.eq_ignore_ascii_case("bearer") && is_token(token.trim()) => {
            Ok(token.trim())
        }
        _ => Err(malformed),
    }
}

/// RFC 6750, section 2.1.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

fn is_extension(name: &str, value: &str) -> bool {
    let printable = |byte: u8| (b' '..=b'~').contains(&byte) || b"\t\r\n".contains(&byte);
    !name.is_empty()
        && name != "auth"
        && name.bytes().all(|byte| byte.is_ascii_alphabetic())
        && !value.is_empty()
        && value.bytes().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_said_is_understood() {
        let check = |token: &str, list: &[(&str, &str)], want: &str| {
            let said = message(token, &extensions(list)).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&said), want);
            assert_eq!(parse(&said), Ok(token));
        };
        check(
            "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==",
            &[],
            "n,,\u{1}auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\u{1}\u{1}",
        );
        check(
            "a.b.",
            &[("logicalCluster", "lkc-1"), ("poolId", "p 1")],
            "n,,\u{1}auth=Bearer a.b.\u{1}logicalCluster=lkc-1\u{1}poolId=p 1\u{1}\u{1}",
        );
    }

    #[test]
    fn what_cannot_be_said() {
        for token in ["", "=", "a b", "a\u{1}b", "ä", "a=b"] {
            assert!(message(token, &[]).is_err(), "{token:?}");
        }
        for list in [[("auth", "x")], [("", "x")], [("a1", "x")], [("a", "")], [("a", "x\u{1}b=c")]] {
            assert!(message("t", &extensions(&list)).is_err(), "{list:?}");
        }
    }

    #[test]
    fn what_cannot_be_understood() {
        for said in [
            "",
            "\u{1}",
            "n,,",
            "n,,\u{1}auth=t\u{1}\u{1}",
            "n,,\u{1}auth=Basic t\u{1}\u{1}",
            "n,,\u{1}auth=Bearer \u{1}\u{1}",
            "y,,\u{1}auth=Bearer t\u{1}",
        ] {
            assert!(parse(said.as_bytes()).is_err(), "{said:?}");
        }
        // The law has the scheme in any case, an identity before the token, and other words.
        assert_eq!(parse("n,a=u,\u{1}host=h\u{1}auth=bearer t\u{1}\u{1}".as_bytes()), Ok("t"));
    }
}
