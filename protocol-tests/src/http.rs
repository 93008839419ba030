//! Pages as a scraper asks for them, in the simplest HTTP there is.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// For an answer; far beyond what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);
const SENT_ON_MAX: usize = 5;

/// The status of a page, and what it says.
pub fn get(address: &str, path: &str) -> io::Result<(u16, String)> {
    answer(ask(address, path)?)
}

/// Asks for a page whose answer is read later.
pub fn ask(address: &str, path: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    Ok(stream)
}

/// The answer to what was asked.
pub fn answer(stream: TcpStream) -> io::Result<(u16, String)> {
    let (status, _, body) = whole(stream)?;
    Ok((status, body))
}

/// The page, and how often its asker was sent on to get it.
pub fn follow(address: &str, path: &str) -> io::Result<(u16, String, usize)> {
    let (mut address, mut path) = (address.to_owned(), path.to_owned());
    for times in 0..SENT_ON_MAX {
        let (status, head, body) = whole(ask(&address, &path)?)?;
        let location = head.lines().find_map(|line| line.strip_prefix("location: http://")?.split_once('/'));
        let Some((there, rest)) = location else { return Ok((status, body, times)) };
        (address, path) = (there.to_owned(), format!("/{rest}"));
    }
    Err(io::Error::other(format!("sent on {SENT_ON_MAX} times, at last to {address}{path}")))
}

/// Status, head and body.
fn whole(mut stream: TcpStream) -> io::Result<(u16, String, String)> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = |head: &str| head.split(' ').nth(1)?.parse().ok();
    let parts = answer.split_once("\r\n\r\n");
    let parts = parts.and_then(|(head, body)| Some((status(head)?, head.to_owned(), body.to_owned())));
    parts.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("this is no answer: {answer:?}")))
}
