//! Tokens that nobody has signed (RFC 7515, appendix A.5), which Kafka takes where OAUTHBEARER is on and nothing else is set
//! up: for development only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Whom a token is about, and until when it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub subject: String,
    pub expires_unix_ms: i64,
}

/// Reads a token that holds at this moment, or says what is wrong with it.
pub fn read(token: &str, now_unix_ms: i64) -> Result<Claims, &'static str> {
    let parts: Vec<_> = token.split('.').collect();
    let [header, claims, ""] = parts[..] else { return Err("the token is not an unsecured JWS") };
    if object(header)?.get("alg").and_then(Value::as_str) != Some("none") {
        return Err("the token's algorithm is not \"none\"");
    }
    let claims = object(claims)?;
    let subject = claims.get("sub").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    let subject = subject.ok_or("the token has no subject")?.to_owned();
    let milliseconds = |name: &str| claims.get(name).and_then(Value::as_f64).map(|seconds| (seconds * 1000.0) as i64);
    let expires_unix_ms = milliseconds("exp").ok_or("the token has no end")?;
    if expires_unix_ms <= now_unix_ms {
        return Err("the token has ended");
    }
    if milliseconds("iat").is_some_and(|issued| issued > now_unix_ms) {
        return Err("the token is from the future");
    }
    Ok(Claims { subject, expires_unix_ms })
}

fn object(part: &str) -> Result<Value, &'static str> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| "a part of the token is not base 64")?;
    serde_json::from_slice(&bytes).map_err(|_| "a part of the token is not JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_says() {
        let check = |header: &str, claims: &str, signature: &str, want: Result<(&str, i64), &str>| {
            let token = format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            let got = read(&token, 10_000);
            let got = got.as_ref().map(|it| (it.subject.as_str(), it.expires_unix_ms)).map_err(|why| *why);
            assert_eq!(got, want, "{header} {claims}");
        };
        let none = r#"{"alg":"none"}"#;
        check(none, r#"{"sub":"alice","exp":10.5}"#, "", Ok(("alice", 10_500)));
        check(none, r#"{"sub":"alice","iat":10,"exp":11}"#, "", Ok(("alice", 11_000)));
        check(none, r#"{"sub":"alice","iat":11,"exp":12}"#, "", Err("the token is from the future"));
        check(none, r#"{"sub":"alice","exp":10}"#, "", Err("the token has ended"));
        check(none, r#"{"sub":"alice"}"#, "", Err("the token has no end"));
        check(none, r#"{"sub":"","exp":11}"#, "", Err("the token has no subject"));
        check(none, "[]", "", Err("the token has no subject"));
        check(none, "{", "", Err("a part of the token is not JSON"));
        check(r#"{"alg":"RS256"}"#, "{}", "", Err("the token's algorithm is not \"none\""));
        check(none, r#"{"sub":"alice","exp":11}"#, "AAAA", Err("the token is not an unsecured JWS"));
        assert_eq!(read("?.?.", 0), Err("a part of the token is not base 64"));
        assert_eq!(read("opaque", 0), Err("the token is not an unsecured JWS"));
    }
}
