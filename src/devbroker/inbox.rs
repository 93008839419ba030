//! How requests come in: as frames, each behind its 4-byte length. A length reserves nothing; memory follows what arrives.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// How much room a read makes at a time.
const READ_STEP: usize = 16 << 10;
const LENGTH_BYTES: usize = 4;
/// A request has at least a key, a version and a correlation id.
const SHORTEST: usize = 8;

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("nothing moved for too long")]
    Idle,
    #[error("a frame of {0} bytes is not one of Kafka's, or larger than is allowed")]
    Size(i32),
}

/// What has come over a connection, and is not given out yet.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: BytesMut,
}

impl Inbox {
    /// The next frame without its length, which is no longer than this; `None` when the client hangs up between frames.
    pub async fn frame(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        longest: usize,
        patience: Duration,
    ) -> Result<Option<Bytes>, Broken> {
        if !self.fill(stream, LENGTH_BYTES, patience).await? {
            return Ok(None);
        }
        let size = self.bytes.get_i32();
        let length = usize::try_from(size).ok().filter(|length| (SHORTEST..=longest).contains(length));
        let length = length.ok_or(Broken::Size(size))?;
        if !self.fill(stream, length, patience).await? {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(Some(self.bytes.split_to(length).freeze()))
    }

    /// Reads until so many bytes are here; `false` if the client hung up and left none.
    async fn fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        wanted: usize,
        patience: Duration,
    ) -> Result<bool, Broken> {
        while self.bytes.len() < wanted {
            // Grows by as much again as has arrived, so a large frame costs few copies and a lie costs nothing.
            let step = READ_STEP.max(self.bytes.len()).min(wanted.max(READ_STEP));
            self.bytes.reserve(step);
            let read = stream.read_buf(&mut self.bytes);
            let n = timeout(patience, read).await.map_err(|_| Broken::Idle)??;
            if n == 0 && self.bytes.is_empty() {
                return Ok(false);
            }
            if n == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(true)
    }
}
