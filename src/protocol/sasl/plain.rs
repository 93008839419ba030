//! PLAIN (RFC 4616): one message with the name to act as, the name, and the password, parted by zero bytes.

use super::SaslError;

/// What a client says.
pub fn message(user: &str, password: &str) -> Result<Vec<u8>, SaslError> {
    if user.is_empty() || password.is_empty() {
        return Err(SaslError::Unsayable("a user name and a password are needed, and one of them is empty"));
    }
    if user.contains('\0') || password.contains('\0') {
        return Err(SaslError::Unsayable("a zero byte ends a user name or password, and can be in neither"));
    }
    Ok(["", user, password].join("\0").into_bytes())
}

/// What a client has said: user and password. Acting as somebody else is not allowed, as in Kafka.
pub fn parse(message: &[u8]) -> Result<(&str, &str), SaslError> {
    let text = std::str::from_utf8(message).map_err(|_| SaslError::Malformed("the message is not UTF-8"))?;
    let parts: Vec<_> = text.split('\0').collect();
    match parts[..] {
        [_, "", _] | [_, _, ""] => Err(SaslError::Malformed("user name or password is empty")),
        [as_whom, user, _] if !as_whom.is_empty() && as_whom != user => {
            Err(SaslError::Malformed("acting as another user is not allowed"))
        }
        [_, user, password] => Ok((user, password)),
        _ => Err(SaslError::Malformed("the message is not three texts parted by zero bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let check = |user: &str, password: &str| {
            let said = message(user, password);
            assert_eq!(said.as_deref().map(parse), Ok(Ok((user, password))));
        };
        check("tim", "tanstaaftanstaaf");
        check("Ärger", "päss wörd,=");
    }

    #[test]
    fn the_examples_of_the_law() {
        // RFC 4616, section 4; the second acts as somebody else.
        assert_eq!(message("tim", "tanstaaftanstaaf").as_deref(), Ok(&b"\0tim\0tanstaaftanstaaf"[..]));
        assert!(parse(b"Ursel\0Kurt\0xipj3plmq").is_err());
        assert_eq!(parse(b"Kurt\0Kurt\0xipj3plmq"), Ok(("Kurt", "xipj3plmq")));
    }

    #[test]
    fn what_cannot_be_said_or_understood() {
        for (user, password) in [("", "p"), ("u", ""), ("u\0v", "p"), ("u", "p\0q")] {
            assert!(message(user, password).is_err());
        }
        for wrong in [&b""[..], b"\0", b"\0\0", b"\0u\0", b"\0\0p", b"u\0p", b"\0u\0p\0q", b"\0u\0\xff"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
