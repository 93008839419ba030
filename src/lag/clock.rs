//! Wall time that never jumps.
//!
//! An interval that is to be proven must not depend on somebody setting the clock. So the wall is looked at once, and from
//! then on only the monotonic clock counts.

use jiff::Timestamp;
use tokio::time::Instant;

/// Milliseconds since 1970, monotonic from when it was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_ms: i64,
    began: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { wall_ms: Timestamp::now().as_millisecond(), began: Instant::now() }
    }

    pub fn now_ms(&self) -> i64 {
        self.wall_ms.saturating_add(i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}
