//! Bytes as a stream, in the pieces that they themselves ask for.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

const MORE: usize = 1 << 10;
/// The most that follows what is written down.
pub const MORE_MAX: usize = 255 * MORE;
/// What follows: no length that could be.
const FILLER: u8 = 0xff;

/// The first byte says how many come at a time, the second how many KiB follow that nobody has to write down: it takes much to
/// have a large frame believed. All bytes between come as they are. Before each piece there is nothing to read for a moment.
#[derive(Debug)]
pub struct Tape<'a> {
    piece: usize,
    left: &'a [u8],
    more: usize,
    is_due: bool,
    came: &'a Cell<usize>,
}

impl<'a> Tape<'a> {
    /// Counts in `came` what was read.
    pub fn new(bytes: &'a [u8], came: &'a Cell<usize>) -> Self {
        let (piece, more, left) = match bytes {
            [piece, more, left @ ..] => (usize::from(*piece), usize::from(*more), left),
            _ => (0, 0, bytes),
        };
        Self { piece: piece.max(1), left, more: more * MORE, is_due: false, came }
    }
}

impl AsyncRead for Tape<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.is_due = !this.is_due;
        if this.is_due {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let room = out.remaining();
        let n = if this.left.is_empty() {
            let n = this.more.min(room);
            out.initialize_unfilled_to(n).fill(FILLER);
            out.advance(n);
            this.more -= n;
            n
        } else {
            let (piece, left) = this.left.split_at(this.piece.min(this.left.len()).min(room));
            out.put_slice(piece);
            this.left = left;
            piece.len()
        };
        this.came.set(this.came.get() + n);
        Poll::Ready(Ok(()))
    }
}
