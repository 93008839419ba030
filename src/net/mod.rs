//! Reaching an address: name lookup, TCP and TLS, as one value.
//!
//! A [`Dial`] turns an [`Address`] into a byte stream. [`tcp`] is the one in use; tests give an in-memory pipe instead,
//! and a proxy would be another. All addresses that a name stands for are tried in turn, and a failure says what became
//! of each. What speaks HTTP over it is [`http::Http`].

pub mod http;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::tls::{Tls, TlsFault};

/// Any byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// How an address is reached.
pub type Dial = Arc<dyn Fn(Address) -> BoxFuture<'static, Result<Box<dyn Io>, Vec<Attempt>>> + Send + Sync>;

/// A host, by name or number, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    host: Arc<str>,
    port: u16,
}

/// One address that was tried, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub address: Address,
    /// Which of the numbers that the name stands for.
    pub number: Option<IpAddr>,
    pub why: Arc<str>,
    /// What is wrong with the TLS of it, if that is what is wrong.
    pub tls: Option<TlsFault>,
}

impl Address {
    pub fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// Reads `host:port` or `[v6]:port`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no address; write host:port, and an IPv6 number as [number]:port");
        let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|v6| v6.contains(':')).ok_or_else(wrong)?,
            None if host.contains([':', '/', '@', ' ']) => return Err(wrong()),
            None => host,
        };
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        Ok(Self::new(host, port))
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::new(addr.ip().to_string(), addr.port())
    }
}

impl Attempt {
    pub fn new(address: Address, why: impl fmt::Display) -> Self {
        Self { address, number: None, why: why.to_string().into(), tls: None }
    }

    pub fn insecure(address: Address, fault: TlsFault) -> Self {
        Self { tls: Some(fault.clone()), ..Self::new(address, format!("TLS: {fault}")) }
    }

    /// Whether another try can only end in the same way.
    pub fn is_lasting(&self) -> bool {
        self.tls.as_ref().is_some_and(TlsFault::is_lasting)
    }

    /// Says which number was tried, unless the address is one itself.
    fn on(mut self, number: SocketAddr) -> Self {
        self.number = Some(number.ip()).filter(|_| self.address.host().parse::<IpAddr>().is_err());
        self
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "{} ({number}): {}", self.address, self.why),
            None => write!(f, "{}: {}", self.address, self.why),
        }
    }
}

/// Reaches addresses over TCP, and TLS when there is one, within `limit` for one address, however
/// many numbers its name stands for.
pub fn tcp(tls: Option<Tls>, limit: Duration) -> Dial {
    Arc::new(move |address| reach(address, tls.clone(), limit).boxed())
}

async fn reach(address: Address, tls: Option<Tls>, limit: Duration) -> Result<Box<dyn Io>, Vec<Attempt>> {
    let begun = Instant::now();
    let numbers = match timeout(limit, lookup(&address)).await {
        Ok(Ok(numbers)) => numbers,
        Ok(Err(error)) => return Err(vec![Attempt::new(address, format!("name lookup: {error}"))]),
        Err(_) => return Err(vec![Attempt::new(address, format!("name lookup: no answer within {limit:?}"))]),
    };
    let mut failed = Vec::new();
    for (n, number) in numbers.iter().enumerate() {
        let share = share(limit.saturating_sub(begun.elapsed()), numbers.len() - n);
        match timeout(share, reach_number(*number, &address, tls.as_ref())).await {
            Ok(Ok(io)) => return Ok(io),
            Ok(Err(attempt)) => failed.push(attempt.on(*number)),
            Err(_) => failed.push(Attempt::new(address.clone(), format!("no answer within {share:?}")).on(*number)),
        }
    }
    Err(failed)
}

/// What one of the numbers still to be tried may take, so that a silent one leaves time for the others.
fn share(left: Duration, to_try: usize) -> Duration {
    left / u32::try_from(to_try.max(1)).unwrap_or(u32::MAX)
}

async fn lookup(address: &Address) -> io::Result<Vec<SocketAddr>> {
    let numbers: Vec<_> = lookup_host((address.host(), address.port())).await?.collect();
    match numbers.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name stands for no address")),
        false => Ok(numbers),
    }
}

async fn reach_number(number: SocketAddr, address: &Address, tls: Option<&Tls>) -> Result<Box<dyn Io>, Attempt> {
    let stream = reach_tcp(number).await.map_err(|error| Attempt::new(address.clone(), said(&error)))?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = match tls.server_name() {
        Some(name) => name.clone(),
        None => ServerName::try_from(address.host().to_owned())
            .map_err(|error| Attempt::new(address.clone(), format!("TLS: {error}")))?,
    };
    let stream = TlsConnector::from(tls.now().await).connect(name, stream).await;
    stream.map(|stream| Box::new(stream) as Box<dyn Io>).map_err(|error| {
        let fault = TlsFault::of_handshake(&error).unwrap_or_else(|| TlsFault::Other(said(&error)));
        Attempt::insecure(address.clone(), fault)
    })
}

/// Small requests leave at once, and a peer that vanished while nothing was said is noticed.
async fn reach_tcp(number: SocketAddr) -> io::Result<TcpStream> {
    let socket = if number.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_keepalive(true)?;
    socket.set_nodelay(true)?;
    socket.connect(number).await
}

/// The operating system's words without its number.
fn said(error: &io::Error) -> String {
    let words = error.to_string();
    words.split(" (os error").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        let check = |text: &str, host: &str, port: u16| {
            let address = Address::parse(text);
            assert_eq!(address, Ok(Address::new(host, port)), "{text}");
            assert_eq!(address.map(|it| it.to_string()), Ok(text.trim().to_owned()));
        };
        check("kafka:9092", "kafka", 9092);
        check(" 10.0.0.1:1", "10.0.0.1", 1);
        check("[::1]:9092", "::1", 9092);
        for wrong in ["kafka", "kafka:", ":9092", "::1:9092", "[::1]", "[kafka]:1", "a:0", "a:65536", "tcp://a:1", ""] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
