//! Where metrics are pushed to. Pure.

use std::fmt;

use hyper::Uri;

use crate::net::Address;

/// What is appended to the URL that a collector has for all signals (OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/metrics";
/// Where OTLP is spoken over gRPC.
const GRPC_PORT: u16 = 4317;

/// A receiver of OTLP over HTTP. It is shown without its query, which may have a key in it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    uri: Uri,
    address: Address,
}

impl Endpoint {
    /// Of the URL of a collector, to which the path of metrics is added.
    pub fn of_base(url: &str) -> Result<Self, String> {
        let (whole, query) = match url.split_once('?') {
            Some((whole, query)) => (whole, format!("?{query}")),
            None => (url, String::new()),
        };
        let whole = whole.trim_end_matches('/');
        if whole.ends_with(PATH) {
            return Err(format!("{PATH} is added to it, so leave that off"));
        }
        let endpoint = Self::as_it_is(&format!("{whole}{PATH}{query}"))?;
        match endpoint.address.port() {
            GRPC_PORT => Err(format!("{GRPC_PORT} is the port of OTLP over gRPC; over HTTP it is 4318, most often")),
            _ => Ok(endpoint),
        }
    }

    /// Of the whole URL.
    pub fn as_it_is(url: &str) -> Result<Self, String> {
        let is_grpc = ["grpc://", "grpcs://"].iter().any(|scheme| url.starts_with(scheme));
        if is_grpc {
            return Err("gRPC is not spoken; give the collector's port for HTTP, most often 4318".to_owned());
        }
        if !url.contains("://") {
            return Err("it has no scheme".to_owned());
        }
        let uri: Uri = url.parse().map_err(|_| "this is no URL".to_owned())?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("who we are does not stand in the URL; say it by a header, authorization=Basic …".to_owned());
        }
        let port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err("its scheme is another one".to_owned()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("it has no host")?;
        // What is no number of a port is none to the parser, and would be taken for the scheme's.
        if uri.port_u16().is_none() && uri.authority().is_some_and(|whole| whole.as_str() != host) {
            return Err("its port is not a number up to 65535".to_owned());
        }
        let address = Address::new(host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(port));
        Ok(Self { address, uri })
    }

    pub fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// What is asked for, query included.
    pub fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.authority(), self.uri.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |made: Result<Endpoint, String>, want: Result<(&str, &str), &str>| match want {
            Ok((address, target)) => {
                let made = made.unwrap();
                assert_eq!((made.address().to_string().as_str(), made.target()), (address, target));
                assert!(!made.to_string().contains("secret"), "{made}");
            }
            Err(part) => {
                let said = made.unwrap_err();
                assert!(said.contains(part) && !said.contains("secret"), "{said}");
            }
        };
        let base = Endpoint::of_base;
        check(base("http://collector:4318"), Ok(("collector:4318", "/v1/metrics")));
        check(base("http://collector:4318/"), Ok(("collector:4318", "/v1/metrics")));
        check(base("https://otlp.example/otlp/"), Ok(("otlp.example:443", "/otlp/v1/metrics")));
        check(base("http://prometheus:9090/api/v1/otlp"), Ok(("prometheus:9090", "/api/v1/otlp/v1/metrics")));
        check(base("https://h/o?key=secret"), Ok(("h:443", "/o/v1/metrics?key=secret")));
        check(base("http://[::1]:1"), Ok(("[::1]:1", "/v1/metrics")));
        check(base("http://h:4318/v1/metrics"), Err("leave that off"));
        check(base("http://h:4317"), Err("over HTTP it is 4318"));
        check(base("grpc://h:4317"), Err("gRPC is not spoken"));
        check(base("collector:4318"), Err("no scheme"));
        check(base("ftp://h"), Err("scheme is another"));
        check(base("http://a b"), Err("no URL"));
        check(base("http://h:43180000"), Err("its port is not"));
        check(base("http://h:4318x"), Err("its port is not"));
        check(base("https://h:"), Err("its port is not"));
        check(base("http://[::1]:65536"), Err("its port is not"));
        check(base("http://[::1]"), Ok(("[::1]:80", "/v1/metrics")));
        check(base("http://"), Err(""));
        check(base("http://me:secret@h"), Err("by a header"));
        let whole = Endpoint::as_it_is;
        check(whole("http://h:4317/x"), Ok(("h:4317", "/x")));
        check(whole("http://h"), Ok(("h:80", "/")));
        check(whole("https://h/v1/metrics"), Ok(("h:443", "/v1/metrics")));
    }
}
