//! What may be set, in a file and in the variables that OpenTelemetry has for it ("OpenTelemetry Protocol Exporter",
//! "Environment Variable Specification"). Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::endpoint::Endpoint;
use crate::limits::Limits;
use crate::tls::TlsOptions;

/// Where metrics are pushed to, and how. Without an endpoint they are not.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The URL of a collector, or of another receiver of OTLP over HTTP, to which `/v1/metrics` is added.
    pub endpoint: Option<String>,
    /// The same, with nothing added.
    pub metrics_endpoint: Option<String>,
    /// Between the starts of two pushes.
    pub interval_seconds: f64,
    /// For one request, and for reaching the receiver.
    pub timeout_seconds: f64,
    pub compression: Compression,
    /// Sent with each request: who we are, most often.
    pub headers: Headers,
    /// What is said of this process as a whole, beside `service.name`, `service.version` and `service.instance.id`, each of which
    /// it may replace.
    pub resource: BTreeMap<String, String>,
    /// Whom to trust where the URL begins with `https`, and who we are there.
    pub tls: TlsOptions,
}

/// The URLs may have a key in them, and are shown as far as they can have none.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("target", &self.target())
            .field("interval_seconds", &self.interval_seconds)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("compression", &self.compression)
            .field("headers", &self.headers)
            .field("resource", &self.resource)
            .field("tls", &self.tls)
            .finish()
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    Gzip,
    None,
}

/// Names and values, of which only the names are ever shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: None,
            metrics_endpoint: None,
            interval_seconds: 60.0,
            timeout_seconds: 10.0,
            compression: Compression::Gzip,
            headers: Headers::default(),
            resource: BTreeMap::new(),
            tls: TlsOptions::default(),
        }
    }
}

/// What a request says of itself.
const OURS: [&str; 6] =
    ["host", "connection", "content-type", "content-encoding", "content-length", "transfer-encoding"];

impl Config {
    /// Holds what was set against what makes sense.
    pub fn check(&self, limits: &mut Limits) {
        limits.within("interval_seconds", self.interval_seconds, 1.0..=86_400.0);
        limits.within("timeout_seconds", self.timeout_seconds, 0.1..=600.0);
        if let Err((key, why)) = self.target() {
            // The URL itself may have a key in it.
            let allowed = format!("the URL of an OTLP receiver, http://HOST:4318 or https://HOST: {why}");
            limits.must(false, key, &Hidden, allowed);
        }
        for name in self.headers.0.keys() {
            let is_name = HeaderName::try_from(name).is_ok_and(|name| !OURS.contains(&name.as_str()));
            limits.must(is_name, "headers", name, "the name of a header that is not one of the request's own");
        }
        for (name, value) in &self.headers.0 {
            let is_value = HeaderValue::try_from(value).is_ok();
            limits.must(is_value, "headers", &Hidden, format_args!("what a header may say, that of {name}"));
        }
    }

    /// Where to push to, if anywhere; else which setting is wrong, and why.
    pub(super) fn target(&self) -> Result<Option<Endpoint>, (&'static str, String)> {
        match (&self.metrics_endpoint, &self.endpoint) {
            (Some(url), _) => Endpoint::as_it_is(url).map(Some).map_err(|why| ("metrics_endpoint", why)),
            (None, Some(url)) => Endpoint::of_base(url).map(Some).map_err(|why| ("endpoint", why)),
            (None, None) => Ok(None),
        }
    }

    /// Whether metrics are pushed at all.
    pub fn is_on(&self) -> bool {
        self.endpoint.is_some() || self.metrics_endpoint.is_some()
    }

    /// What no number of seconds can be said of is refused by [`Self::check`].
    pub(super) fn interval(&self) -> Duration {
        Duration::try_from_secs_f64(self.interval_seconds).unwrap_or(Duration::from_secs(60))
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout_seconds).unwrap_or(Duration::from_secs(10))
    }

    /// Lays the variables of OpenTelemetry over what is set, and a URL that was typed over both: what it replaces is not even
    /// looked at. `Err` says which variable cannot be, without its value where that may be a secret.
    pub fn lay_over(
        &mut self,
        typed_endpoint: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), String> {
        if let Some(endpoint) = typed_endpoint {
            (self.endpoint, self.metrics_endpoint) = (Some(endpoint.to_owned()), None);
        }
        // What is empty is not set.
        let set = |name: &str| variable(name).filter(|text| !text.trim().is_empty());
        let is_off = set("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let exporters = set("OTEL_METRICS_EXPORTER").unwrap_or_else(|| "otlp".to_owned());
        if is_off || !exporters.split(',').any(|exporter| exporter.trim() == "otlp") {
            return Ok(());
        }
        let of_metrics = |name: &str| {
            let names = [format!("OTEL_EXPORTER_OTLP_METRICS_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")];
            names.into_iter().find_map(|name| set(&name).map(|text| (name, text)))
        };
        if typed_endpoint.is_none() {
            self.read_endpoint(&set, &of_metrics)?;
        }
        self.read_resource(&set)?;
        if let Some(text) = set("OTEL_METRIC_EXPORT_INTERVAL") {
            self.interval_seconds = millis("OTEL_METRIC_EXPORT_INTERVAL", &text)?;
        }
        if let Some((name, text)) = of_metrics("TIMEOUT") {
            self.timeout_seconds = millis(&name, &text)?;
        }
        if let Some((name, text)) = of_metrics("HEADERS") {
            let pairs = pairs(&text).ok_or_else(|| format!("{name}: it is not NAME=VALUE,NAME=VALUE"))?;
            self.headers.0.extend(pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)));
        }
        if let Some((name, text)) = of_metrics("COMPRESSION") {
            self.compression = match text.trim() {
                "gzip" => Compression::Gzip,
                "none" => Compression::None,
                other => return Err(format!("{name}={other}: it must be gzip or none")),
            };
        }
        let file = |name: &str| of_metrics(name).map(|(_, path)| path.into());
        self.tls.ca_file = file("CERTIFICATE").or(self.tls.ca_file.take());
        self.tls.cert_file = file("CLIENT_CERTIFICATE").or(self.tls.cert_file.take());
        self.tls.key_file = file("CLIENT_KEY").or(self.tls.key_file.take());
        Ok(())
    }

    fn read_endpoint(
        &mut self,
        set: &dyn Fn(&str) -> Option<String>,
        of_metrics: &dyn Fn(&str) -> Option<(String, String)>,
    ) -> Result<(), String> {
        let whole = set("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
        let base = set("OTEL_EXPORTER_OTLP_ENDPOINT");
        if whole.is_none() && base.is_none() {
            return Ok(());
        }
        if let Some((name, protocol)) = of_metrics("PROTOCOL").filter(|(_, protocol)| protocol != "http/protobuf") {
            return Err(format!(
                "{name}={protocol}: only http/protobuf is spoken; OTEL_METRICS_EXPORTER=none pushes nothing"
            ));
        }
        (self.metrics_endpoint, self.endpoint) = (whole, base);
        Ok(())
    }

    fn read_resource(&mut self, set: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        if let Some(text) = set("OTEL_RESOURCE_ATTRIBUTES") {
            let wrong = || "OTEL_RESOURCE_ATTRIBUTES: it is not NAME=VALUE,NAME=VALUE".to_owned();
            self.resource.extend(pairs(&text).ok_or_else(wrong)?);
        }
        if let Some(name) = set("OTEL_SERVICE_NAME") {
            self.resource.insert("service.name".to_owned(), name);
        }
        Ok(())
    }
}

/// Shown in place of what may be a secret.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

fn millis(name: &str, text: &str) -> Result<f64, String> {
    let ms: u64 = text.trim().parse().map_err(|_| format!("{name}={text}: it must be a number of milliseconds"))?;
    Ok(ms as f64 / 1_000.0)
}

/// `name=value,name=value`, as W3C's baggage has it: both may be percent-encoded, and have spaces around them.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let pair = |item: &str| {
        let (name, value) = item.split_once('=')?;
        let name = decoded(name.trim()).filter(|name| !name.is_empty())?;
        Some((name, decoded(value.trim())?))
    };
    items.map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        out.push(u8::from_str_radix(code, 16).ok()?);
        out.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)], file: &str) -> Result<Config, String> {
        read_with(None, variables, file)
    }

    fn read_with(typed: Option<&str>, variables: &[(&str, &str)], file: &str) -> Result<Config, String> {
        let mut config: Config = toml::from_str(file).unwrap();
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        config.lay_over(typed, variable).map(|()| config)
    }

    #[test]
    fn variables_lie_over_the_file() {
        let check = |variables: &[(&str, &str)], file: &str, want: &dyn Fn(&Config) -> bool| {
            let config = read(variables, file).unwrap();
            assert!(want(&config), "{variables:?} {file}: {config:?}");
        };
        let target = |url: &'static str| {
            move |it: &Config| it.target().unwrap().map(|it| it.to_string()).as_deref() == Some(url)
        };
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318");
        let whole = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://env:4318/x");
        check(&[], "", &|it| !it.is_on() && it.interval_seconds == 60.0 && it.timeout_seconds == 10.0);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], "", &|it| !it.is_on());
        check(&[base], "metrics_endpoint = 'http://file/y'", &target("http://env:4318/v1/metrics"));
        check(&[base, whole], "", &target("http://env:4318/x"));
        check(&[], "endpoint = 'http://file'", &target("http://file/v1/metrics"));
        let off = |name, value| move |it: &Config| read(&[base, (name, value)], "").unwrap().is_on() == it.is_on();
        check(&[], "", &off("OTEL_SDK_DISABLED", "true"));
        check(&[], "", &off("OTEL_METRICS_EXPORTER", "none"));
        check(&[base], "", &off("OTEL_METRICS_EXPORTER", "prometheus, otlp"));
        check(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "", &|it| !it.is_on());
        check(&[("OTEL_METRIC_EXPORT_INTERVAL", "1500")], "interval_seconds = 9", &|it| it.interval_seconds == 1.5);
        check(&[("OTEL_EXPORTER_OTLP_TIMEOUT", "1"), ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2000")], "", &|it| {
            it.timeout_seconds == 2.0
        });
        check(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "none")], "", &|it| it.compression == Compression::None);
        check(&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem")], "[tls]\nca_file = 'b'\nkey_file = 'k'", &|it| {
            it.tls.ca_file.as_deref() == Some("ca.pem".as_ref()) && it.tls.key_file.as_deref() == Some("k".as_ref())
        });
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "X-Scope-OrgID=a%2Cb, authorization=Basic%20aaa==");
        check(&[headers], "headers = { a = 'b' }", &|it| {
            let got: Vec<_> = it.headers.0.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            got == ["a:b", "authorization:Basic aaa==", "x-scope-orgid:a,b"] && !format!("{it:?}").contains("aaa")
        });
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment.name=prod%2Feu");
        check(&[attributes, ("OTEL_SERVICE_NAME", "b")], "", &|it| {
            it.resource["service.name"] == "b" && it.resource["deployment.environment.name"] == "prod/eu"
        });
    }

    #[test]
    fn what_was_typed_lies_over_both() {
        let check = |variables: &[(&str, &str)], file: &str, interval_seconds: f64| {
            let config = read_with(Some("http://typed"), variables, file).unwrap();
            let target = config.target().unwrap().map(|it| it.to_string());
            assert_eq!(target.as_deref(), Some("http://typed/v1/metrics"), "{variables:?} {file}");
            assert_eq!(config.interval_seconds, interval_seconds, "{variables:?} {file}");
        };
        let interval = ("OTEL_METRIC_EXPORT_INTERVAL", "1500");
        check(&[], "metrics_endpoint = 'http://file/y'", 60.0);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4317"), interval], "", 1.5);
        check(
            &[("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://env"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), interval],
            "endpoint = 'http://file'",
            1.5,
        );
        // Variables that are not to be heeded are not.
        check(&[("OTEL_METRICS_EXPORTER", "none"), interval], "interval_seconds = 9", 9.0);
    }

    #[test]
    fn variables_that_are_not_to_be_heeded_may_say_anything() {
        let wrong = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1m"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=a"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
        ];
        let file = "endpoint = 'http://file'";
        for off in [("OTEL_METRICS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")] {
            let config = read(&[&[off], &wrong[..]].concat(), file).unwrap();
            let set: Config = toml::from_str(file).unwrap();
            assert_eq!(format!("{config:?}"), format!("{set:?}"), "{off:?}");
        }
        assert!(read(&wrong, file).is_err());
    }

    #[test]
    fn variables_that_cannot_be() {
        let check = |variables: &[(&str, &str)], want: &str| {
            let said = read(variables, "").unwrap_err();
            assert!(said.contains(want) && !said.contains("secret"), "{said}");
        };
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318");
        check(&[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: only http/protobuf");
        check(&[("OTEL_METRIC_EXPORT_INTERVAL", "1m")], "OTEL_METRIC_EXPORT_INTERVAL=1m: it must be a number of");
        check(&[("OTEL_EXPORTER_OTLP_HEADERS", "secret")], "OTEL_EXPORTER_OTLP_HEADERS: it is not NAME=VALUE");
        check(&[("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "a=%s")], "OTEL_EXPORTER_OTLP_METRICS_HEADERS: it is not");
        check(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "zip")], "must be gzip or none");
        check(&[("OTEL_RESOURCE_ATTRIBUTES", "=a")], "OTEL_RESOURCE_ATTRIBUTES");
    }

    #[test]
    fn settings_that_cannot_be() {
        let check = |file: &str, want: &[&str]| {
            let mut limits = Limits::of("otlp");
            toml::from_str::<Config>(file).unwrap().check(&mut limits);
            let said = limits.mistakes();
            assert_eq!(said.len(), want.len(), "{said:?}");
            assert!(!format!("{:?}", toml::from_str::<Config>(file).unwrap()).contains("secret"), "{file}");
            for (said, want) in said.iter().zip(want) {
                assert!(said.contains(want) && !said.contains("secret"), "{said}");
            }
        };
        check("endpoint = 'http://h:4318'\nheaders = { authorization = 'Bearer secret' }", &[]);
        check("endpoint = 'grpc://secret:4317'", &["otlp.endpoint = …: must be the URL of an OTLP receiver"]);
        check("metrics_endpoint = 'secret'", &["otlp.metrics_endpoint = …"]);
        check("endpoint = 'https://h/?key=secret'", &[]);
        check("interval_seconds = 0\ntimeout_seconds = 0", &["otlp.interval_seconds", "otlp.timeout_seconds"]);
        check("headers = { 'a b' = 'secret', Host = 'x' }", &["\"Host\"", "\"a b\""]);
        check("headers = { a = \"secret\\n\" }", &["otlp.headers = …: must be what a header may say, that of a"]);
    }
}
