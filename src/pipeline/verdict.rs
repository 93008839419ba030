//! What a user login is worth: pure, values in and a verdict out.

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What is to become of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Pass this value on: the record's own bytes with `processed_at` added, and nothing else changed.
    Accept(Vec<u8>),
    Reject(Rejection),
}

/// Why a record cannot be processed, however often it were tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Stable and short, for machines: `payload.not_json`, `field.missing:user_id`, `ip.private`, ...
    pub reason: Cow<'static, str>,
    /// For a person.
    pub message: String,
}

impl Rejection {
    fn new(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { reason: reason.into(), message: message.into() }
    }
}

/// The rules that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Fields that must be there as a text that is not empty.
    pub required: Vec<String>,
    /// The oldest `app_version` that is accepted; compared number by number, so that 10.0.0 is newer than 2.0.0.
    pub oldest_version: Version,
    pub refuse_private_ip: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            required: ["user_id", "app_version", "device_type"].map(str::to_owned).into(),
            oldest_version: Version::new(vec![2, 0, 0], true),
            refuse_private_ip: true,
        }
    }
}

/// A login as its sender wrote it; each field still raw, so that a wrong type can be named.
#[derive(Debug, Default)]
struct Login<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'de> Deserialize<'de> for Login<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Login<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Login<'de>, A::Error> {
                let mut login = Login::default();
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    login.fields.push((name, value));
                }
                Ok(login)
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A text that borrows from the input where it holds no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Judges a record's value against the rules. The last of several fields of one name counts, as in most parsers.
pub fn judge(value: Option<&[u8]>, rules: &Rules, now: Timestamp) -> Verdict {
    match accept(value, rules, now) {
        Ok(value) => Verdict::Accept(value),
        Err(rejection) => Verdict::Reject(rejection),
    }
}

fn accept(value: Option<&[u8]>, rules: &Rules, now: Timestamp) -> Result<Vec<u8>, Rejection> {
    let text = payload(value)?;
    let login = parse(text)?;
    for field in &rules.required {
        login.required(field)?;
    }
    for field in ["locale", "device_id"] {
        login.text(field)?;
    }
    login.whole_number("timestamp")?;
    if let Some(version) = login.text("app_version")? {
        check_version(&version, &rules.oldest_version)?;
    }
    if let Some(ip) = login.text("ip")?
        && rules.refuse_private_ip
        && is_private(&ip)
    {
        return Err(Rejection::new("ip.private", format!("`ip` is a private address: {ip}")));
    }
    Ok(stamp(text, login.place_of("processed_at", text), now))
}

fn payload(value: Option<&[u8]>) -> Result<&str, Rejection> {
    let bytes = value.ok_or_else(|| Rejection::new("payload.null", "the record has no value"))?;
    if bytes.trim_ascii().is_empty() {
        return Err(Rejection::new("payload.empty", "the value is empty"));
    }
    std::str::from_utf8(bytes)
        .map_err(|error| Rejection::new("payload.not_utf8", format!("the value is not UTF-8: {error}")))
}

fn parse(text: &str) -> Result<Login<'_>, Rejection> {
    serde_json::from_str(text).map_err(|error| {
        if error.is_data() {
            Rejection::new("payload.not_object", "the value is JSON, but not an object")
        } else {
            Rejection::new("payload.not_json", format!("the value is not JSON: {error}"))
        }
    })
}

impl<'a> Login<'a> {
    fn raw(&self, name: &str) -> Option<&'a str> {
        let found = self.fields.iter().rev().find(|(field, _)| field == name);
        found.map(|(_, value)| value.get()).filter(|json| *json != "null")
    }

    /// The field's text; `None` when it is missing or null.
    fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Rejection> {
        let Some(json) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str::<Text<'a>>(json) {
            Ok(Text(text)) => Ok(Some(text)),
            Err(_) => Err(Rejection::new(format!("field.type:{name}"), format!("`{name}` is not a text"))),
        }
    }

    fn required(&self, name: &str) -> Result<(), Rejection> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(()),
            _ => Err(Rejection::new(format!("field.missing:{name}"), format!("`{name}` is missing or empty"))),
        }
    }

    fn whole_number(&self, name: &str) -> Result<(), Rejection> {
        match self.raw(name).map(str::parse::<i64>) {
            None | Some(Ok(_)) => Ok(()),
            Some(Err(_)) => {
                Err(Rejection::new(format!("field.type:{name}"), format!("`{name}` is not a whole number")))
            }
        }
    }

    /// Where in `text` the field's value stands.
    fn place_of(&self, name: &str, text: &str) -> Option<Range<usize>> {
        let (_, value) = self.fields.iter().rev().find(|(field, _)| field == name)?;
        let start = value.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
        Some(start..start + value.get().len())
    }
}

/// Adds `processed_at` as the object's last field, or gives the one that is there its new value. The rest of the text is
/// copied, never parsed and written anew, so numbers and spacing stay as they were.
fn stamp(text: &str, present: Option<Range<usize>>, now: Timestamp) -> Vec<u8> {
    let stamped = match present {
        Some(place) => format!(r#"{}"{now:.3}"{}"#, &text[..place.start], &text[place.end..]),
        None => {
            let body = text.trim_end().strip_suffix('}').unwrap_or(text);
            let comma = if body.trim_end().ends_with('{') { "" } else { "," };
            format!(r#"{body}{comma}"processed_at":"{now:.3}"}}"#)
        }
    };
    stamped.into_bytes()
}

/// 10/8, 172.16/12 and 192.168/16, also when written as an IPv4-mapped IPv6 address. What is no address is not private.
fn is_private(ip: &str) -> bool {
    match ip.trim().parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_private(),
        _ => false,
    }
}

fn check_version(text: &str, oldest: &Version) -> Result<(), Rejection> {
    let version = text.parse::<Version>().map_err(|reason| Rejection::new("version.malformed", reason))?;
    if version < *oldest {
        return Err(Rejection::new("version.too_old", format!("`app_version` {text} is older than {oldest}")));
    }
    Ok(())
}

/// A dotted version, ordered by its numbers; a pre-release (`2.0.0-rc1`) comes before its release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Version {
    /// Without zeros at the end, so that 2 and 2.0.0 are the same.
    numbers: Vec<u64>,
    released: bool,
}

impl Version {
    fn new(mut numbers: Vec<u64>, released: bool) -> Self {
        numbers.truncate(numbers.iter().rposition(|n| *n != 0).map_or(1, |last| last + 1));
        Self { numbers, released }
    }
}

impl std::str::FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let without_build = text.trim().split('+').next().unwrap_or_default();
        let (numbers, released) = without_build.split_once('-').map_or((without_build, true), |(n, _)| (n, false));
        let numbers = numbers.strip_prefix('v').unwrap_or(numbers).split('.').map(str::parse);
        let numbers = numbers.collect::<Result<Vec<u64>, _>>();
        let numbers = numbers.map_err(|_| format!("{text:?} is not a version: give numbers with dots, e.g. 2.0.0"))?;
        Ok(Self::new(numbers, released))
    }
}

impl TryFrom<String> for Version {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<_> = self.numbers.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_795_000_000_123;

    fn verdict(value: Option<&[u8]>) -> Verdict {
        judge(value, &Rules::default(), Timestamp::from_millisecond(NOW).unwrap())
    }

    fn accepted(value: &str, want: &str) {
        let got = verdict(Some(value.as_bytes()));
        assert_eq!(got, Verdict::Accept(want.as_bytes().to_vec()), "{value}");
    }

    fn rejected(value: Option<&[u8]>, want: &str) {
        match verdict(value) {
            Verdict::Reject(rejection) => assert_eq!(rejection.reason, want, "{}", rejection.message),
            Verdict::Accept(value) => panic!("accepted, expected {want}: {}", String::from_utf8_lossy(&value)),
        }
    }

    fn login(field: &str, json: &str) -> String {
        let fields = [
            ("user_id", r#""u1""#),
            ("app_version", r#""2.1.0""#),
            ("device_type", r#""ios""#),
            ("ip", r#""9.9.9.9""#),
        ];
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!(r#""{name}":{}"#, if *name == field { json } else { value }))
            .collect();
        format!("{{{}}}", fields.join(","))
    }

    #[test]
    fn an_accepted_login_keeps_every_byte_and_gains_its_time() {
        let stamp = r#""processed_at":"2026-11-18T11:06:40.123Z""#;
        let plain = login("", "");
        accepted(&plain, &format!("{},{stamp}}}", &plain[..plain.len() - 1]));
        let spaced = r#" { "user_id" : "u", "app_version":"10.0.0","device_type":"\u0077eb", "n": 1.000 , "big":123456789012345678901234567890 }  "#;
        accepted(spaced, &format!("{} ,{stamp}}}", &spaced[..spaced.rfind(" }").unwrap()]));
        let again = r#"{"processed_at":"old","user_id":"u","app_version":"2","device_type":"d"}"#;
        accepted(again, &again.replace(r#""processed_at":"old""#, stamp));
    }

    #[test]
    fn rejections_by_reason() {
        let check = |value: &str, want: &str| rejected(Some(value.as_bytes()), want);
        rejected(None, "payload.null");
        rejected(Some(b"\xff\xfe{}"), "payload.not_utf8");
        check("", "payload.empty");
        check(" \n", "payload.empty");
        check("{", "payload.not_json");
        check("{}x", "payload.not_json");
        check("[1]", "payload.not_object");
        check("7", "payload.not_object");
        check("{}", "field.missing:user_id");
        check(&login("user_id", "null"), "field.missing:user_id");
        check(&login("device_type", r#""""#), "field.missing:device_type");
        check(&login("user_id", "17"), "field.type:user_id");
        check(&login("ip", "17"), "field.type:ip");
        check(r#"{"user_id":"u","app_version":"3","device_type":"d","timestamp":"now"}"#, "field.type:timestamp");
        check(r#"{"user_id":"u","app_version":"3","device_type":"d","timestamp":1.5}"#, "field.type:timestamp");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let check = |version: &str, want: Option<&str>| {
            let value = login("app_version", &format!("{version:?}"));
            match want {
                Some(reason) => rejected(Some(value.as_bytes()), reason),
                None => assert!(matches!(verdict(Some(value.as_bytes())), Verdict::Accept(_)), "{version}"),
            }
        };
        for fine in ["2.0.0", "2", "2.0", "10.0.0", "2.0.1-rc1", "v3.1", "2.0.0+build7", "11.0"] {
            check(fine, None);
        }
        for old in ["1.9.9", "1", "0.99.99", "2.0.0-rc1"] {
            check(old, Some("version.too_old"));
        }
        for malformed in ["two", "2.x", "2..0", "-1", "99999999999999999999999"] {
            check(malformed, Some("version.malformed"));
        }
    }

    #[test]
    fn private_addresses() {
        let check = |ip: &str, want: bool| assert_eq!(is_private(ip), want, "{ip}");
        for private in ["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1", "::ffff:10.0.0.1"]
        {
            check(private, true);
        }
        for public in
            ["9.255.255.255", "11.0.0.1", "172.15.0.1", "172.32.0.1", "192.169.0.1", "2001:db8::1", "", "10.1", "x"]
        {
            check(public, false);
        }
    }

    #[test]
    fn any_bytes_get_a_verdict() {
        proptest::proptest!(|(bytes: Vec<u8>)| { verdict(Some(&bytes)); });
        proptest::proptest!(|(text in "[{}\\[\\]\":,0-9a-z\\\\ ]{0,60}")| { verdict(Some(text.as_bytes())); });
    }
}
