//! A conversation with a broker, put down answer by answer, to be compared with another broker's.

use std::fmt::Write as _;

use crate::Outcome;
use bytes::{Bytes, BytesMut};
use highwater::protocol::api::{Api, Request, Response, decode_response_header, encode_request_frame};
use highwater::protocol::messages::JoinGroupRequest;
use highwater::protocol::types::{Str, Uuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection, and what was said over it. What differs from run to run goes by a stand-in.
#[derive(Debug)]
pub struct Script {
    stream: TcpStream,
    correlation: i32,
    pub run: String,
    pub stand_ins: Vec<(String, String)>,
    pub transcript: String,
}

impl Script {
    /// `run` goes before every name.
    pub async fn begin(address: &str, run: &str) -> Outcome<Script> {
        let stream = TcpStream::connect(address).await?;
        let stand_ins = vec![(run.to_owned(), "RUN".to_owned()), (format!("{:?}", Uuid::ZERO), "NO-ID".to_owned())];
        Ok(Script { stream, correlation: 0, run: run.to_owned(), stand_ins, transcript: String::new() })
    }

    /// A name that only this run uses.
    pub fn name(&self, what: &str) -> Str {
        Str::from(format!("{}-{what}", self.run))
    }

    /// What follows is about something else.
    pub fn section(&mut self, title: &str) {
        let _ = writeln!(self.transcript, "\n# {title}");
    }

    /// Asks, and keeps the answer to itself.
    pub async fn ask<R: Api>(&mut self, version: i16, request: R) -> Outcome<R::Response> {
        self.correlation += 1;
        let mut out = BytesMut::new();
        let request: Request = request.into();
        encode_request_frame(self.correlation, version, Some(&Str::from("script")), &request, &mut out)?;
        self.stream.write_all(&out).await?;
        let length = self.stream.read_u32().await? as usize;
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame).await?;
        let mut frame = Bytes::from(frame);
        decode_response_header(R::KEY, version, &mut frame)?;
        let response = Response::decode(R::KEY, version, frame)?;
        R::response(response).ok_or_else(|| "an answer to something else".into())
    }

    /// Asks, and puts the answer down.
    pub async fn note<R: Api>(&mut self, version: i16, request: R) -> Outcome<R::Response> {
        let response = self.ask(version, request).await?;
        self.put::<R>(version, &response);
        Ok(response)
    }

    /// Puts an answer down.
    pub fn put<R: Api>(&mut self, version: i16, response: &R::Response) {
        let said = self.stand_ins.iter().fold(format!("{response:?}"), |said, (real, name)| said.replace(real, name));
        let _ = writeln!(self.transcript, "{} v{version}: {said}", R::NAME);
    }

    /// Puts the answer to a JoinGroup down; the id that it gives gets a stand-in.
    pub async fn join(&mut self, version: i16, request: JoinGroupRequest, name: &str) -> Outcome<Str> {
        let response = self.ask(version, request).await?;
        if !response.member_id.is_empty()
            && !self.stand_ins.iter().any(|(real, _)| *real == response.member_id.as_str())
        {
            self.stand_ins.insert(0, (response.member_id.to_string(), name.to_owned()));
        }
        self.put::<JoinGroupRequest>(version, &response);
        Ok(response.member_id)
    }
}

/// Compares what Kafka has said with the file of what it did; `BLESS` in the environment writes that file anew first.
pub fn compare_or_bless(golden: &str, said: &str, who: &str) -> Outcome<()> {
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(golden, said)?;
    }
    compare(&std::fs::read_to_string(golden)?, said, who);
    Ok(())
}

/// Both texts, and where they part.
pub fn compare(golden: &str, said: &str, who: &str) {
    let mut section = "";
    for (number, (expected, actual)) in golden.lines().zip(said.lines()).enumerate() {
        section = if expected.starts_with('#') { expected } else { section };
        assert_eq!(actual, expected, "{who}, line {} ({section})", number + 1);
    }
    assert_eq!(said.lines().count(), golden.lines().count(), "{who}");
}
