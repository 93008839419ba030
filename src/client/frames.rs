//! What a broker announces is believed as far as it comes.
//!
//! rskafka's messenger makes room for a whole answer as soon as it has read the answer's length. So a length stays here
//! until enough of what it announces has arrived, or as much has come on this connection before; and one that no broker of
//! ours would announce ends the connection at once, where the messenger would read all of it first to tell where the next
//! one begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An answer up to this size is made room for on a stranger's word alone, and one up to so many times the largest that has
/// come whole on the word of who sent that: a consumer's answers are alike, and what is held back is copied once more.
const TRUSTED_BYTES: usize = 1 << 20;
const TRUST: usize = 2;
/// Of a larger one this part must be here first: so little that its being copied costs nothing, and so much that the room
/// asked for is a small multiple of what came.
const PROOF: usize = 8;
/// How much is read at a time of what is held back.
const STEP_BYTES: usize = 64 << 10;
const LENGTH_BYTES: usize = 4;

/// A stream of frames, each behind its 4-byte length.
#[derive(Debug)]
pub struct Frames<S> {
    io: S,
    longest: usize,
    /// The largest answer that room is made for at once.
    trusted: usize,
    length: [u8; LENGTH_BYTES],
    state: State,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the length are here.
    Length(usize),
    /// The first bytes of a large frame, and how many there shall be.
    Holding(Vec<u8>, usize, usize),
    /// The length and what was held are given out, as far as this; then so many bytes pass.
    Passing { held: Vec<u8>, given: usize, left: usize },
}

impl<S> Frames<S> {
    /// `longest` is the largest frame that is taken.
    pub fn new(io: S, longest: usize) -> Self {
        Self { io, longest, trusted: TRUSTED_BYTES, length: [0; LENGTH_BYTES], state: State::Length(0) }
    }
}

impl<S: AsyncRead + Unpin> Frames<S> {
    /// One step towards bytes that may be given out; the answer says whether to go on.
    fn step(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<Step>> {
        match &mut self.state {
            State::Length(here) => {
                let n = ready!(read(&mut self.io, cx, &mut self.length[*here..]))?;
                *here += n;
                if *here == LENGTH_BYTES {
                    self.state = self.announced()?;
                }
                Poll::Ready(Ok(Step::after(n)))
            }
            State::Holding(held, enough, length) => {
                let here = held.len();
                held.resize((here + STEP_BYTES).min(*enough), 0);
                let read = read(&mut self.io, cx, &mut held[here..]);
                let n = if let Poll::Ready(Ok(n)) = read { n } else { 0 };
                held.truncate(here + n);
                ready!(read)?;
                if held.len() == *enough {
                    let left = *length - held.len();
                    self.state = State::Passing { held: std::mem::take(held), given: 0, left };
                }
                Poll::Ready(Ok(Step::after(n)))
            }
            State::Passing { held, given, .. } if *given < LENGTH_BYTES + held.len() => {
                let kept = if *given < LENGTH_BYTES { &self.length[*given..] } else { &held[*given - LENGTH_BYTES..] };
                let n = kept.len().min(out.remaining());
                out.put_slice(&kept[..n]);
                *given += n;
                Poll::Ready(Ok(Step::Enough))
            }
            State::Passing { left: 0, .. } => {
                self.trusted = self.trusted.max(self.length()?.saturating_mul(TRUST));
                self.state = State::Length(0);
                Poll::Ready(Ok(Step::On))
            }
            State::Passing { held, left, given } => {
                if !held.is_empty() {
                    (*held, *given) = (Vec::new(), LENGTH_BYTES);
                }
                let n = ready!(read(&mut self.io, cx, out.initialize_unfilled_to(out.remaining().min(*left))))?;
                out.advance(n);
                *left -= n;
                Poll::Ready(Ok(Step::Enough))
            }
        }
    }

    fn announced(&self) -> io::Result<State> {
        let length = self.length()?;
        Ok(if length <= self.trusted {
            State::Passing { held: Vec::new(), given: 0, left: length }
        } else {
            State::Holding(Vec::new(), length / PROOF, length)
        })
    }

    fn length(&self) -> io::Result<usize> {
        let (said, longest) = (i32::from_be_bytes(self.length), self.longest);
        usize::try_from(said).ok().filter(|length| *length <= longest).ok_or_else(|| {
            let what = format!("the broker announces an answer of {said} bytes, and at most {longest} are taken");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    }
}

enum Step {
    On,
    /// Something was given out, or there is nothing more to come.
    Enough,
}

impl Step {
    /// Nothing read is the end of the stream.
    fn after(read: usize) -> Self {
        if read == 0 { Self::Enough } else { Self::On }
    }
}

fn read(io: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut into = ReadBuf::new(into);
    ready!(Pin::new(io).poll_read(cx, &mut into))?;
    Poll::Ready(Ok(into.filled().len()))
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        while let Step::On = ready!(self.step(cx, out))? {}
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream, duplex};

    use super::*;

    const LONGEST: usize = 128 << 20;

    fn frame(length: usize, byte: u8) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes().to_vec();
        frame.resize(LENGTH_BYTES + length, byte);
        frame
    }

    #[tokio::test]
    async fn every_byte_passes_whatever_the_pieces() -> io::Result<()> {
        let large = [0, 1, 7, 70_000, TRUSTED_BYTES, TRUSTED_BYTES + 1, 3 << 20, 5];
        for (pipe, lengths) in [(5, &[0, 1, 7, 700, 5][..]), (4096, &large), (1 << 20, &large)] {
            let whole: Vec<u8> = (1..).zip(lengths).flat_map(|(byte, length)| frame(*length, byte)).collect();
            let (ours, mut theirs) = duplex(pipe);
            let mut stream = Frames::new(BufStream::new(ours), LONGEST);
            let sent = whole.clone();
            tokio::spawn(async move { theirs.write_all(&sent).await });
            let mut read = Vec::new();
            for (byte, length) in (1..).zip(lengths) {
                let mut head = [0; LENGTH_BYTES];
                stream.read_exact(&mut head).await?;
                assert_eq!(u32::from_be_bytes(head) as usize, *length);
                let mut body = vec![0; *length];
                stream.read_exact(&mut body).await?;
                assert!(body.iter().all(|it| *it == byte), "frame {byte}");
                read.extend_from_slice(&head);
                read.extend_from_slice(&body);
            }
            assert!(read == whole);
            assert_eq!(stream.read(&mut [0; 8]).await?, 0, "the end");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_length_is_told_when_enough_of_its_frame_is_here() -> io::Result<()> {
        const MIB: usize = 1 << 20;
        // The frame that came before, the one that is announced, and how much of it must be here.
        let cases = [
            (0, MIB, 0),
            (0, MIB + PROOF, MIB / PROOF + 1),
            (0, 80 * MIB, 10 * MIB),
            (3 * MIB, 6 * MIB, 0),
            (3 * MIB, 6 * MIB + PROOF, 6 * MIB / PROOF + 1),
        ];
        for (before, length, enough) in cases {
            let (ours, mut theirs) = duplex(LONGEST);
            let mut stream = Frames::new(ours, LONGEST);
            theirs.write_all(&frame(before, 1)).await?;
            stream.read_exact(&mut vec![0; LENGTH_BYTES + before]).await?;
            let frame = frame(length, 2);
            let (first, rest) = frame.split_at((LENGTH_BYTES + enough).saturating_sub(1));
            theirs.write_all(first).await?;
            let mut head = [0; LENGTH_BYTES];
            let mut reading = std::pin::pin!(stream.read_exact(&mut head));
            assert!(poll!(&mut reading).is_pending(), "{length} after {before}");
            theirs.write_all(&rest[..1]).await?;
            assert!(poll!(&mut reading).is_ready(), "{length} after {before}");
            assert_eq!(u32::from_be_bytes(head) as usize, length);
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_length_that_cannot_be_ends_the_stream() -> io::Result<()> {
        for said in [-1, i32::MIN, i32::MAX, LONGEST as i32 + 1] {
            let (ours, mut theirs) = duplex(64);
            theirs.write_all(&said.to_be_bytes()).await?;
            let error = Frames::new(ours, LONGEST).read(&mut [0; 4]).await.map_err(|error| error.to_string());
            assert_eq!(
                error,
                Err(format!("the broker announces an answer of {said} bytes, and at most {LONGEST} are taken"))
            );
        }
        Ok(())
    }
}
