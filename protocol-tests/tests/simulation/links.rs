//! Links between clients and brokers, made of pipes in memory, that do to bytes what networks do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use highwater::client::{Address, Dial};
use highwater::devbroker::DevBroker;
use highwater::net::{Attempt, Io};
use rand::Rng;
use rand::rngs::StdRng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::plan::Weather;

/// The network of one client. Cutting it leaves the client's brokers without a word.
pub struct Net {
    broker: Arc<DevBroker>,
    weather: Weather,
    chance: Mutex<StdRng>,
    calm: Arc<AtomicBool>,
    unplugged: CancellationToken,
    links: Arc<AtomicU64>,
}

/// What becomes of a link after so many bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lasts,
    Cut(usize),
    Silent(usize),
}

impl Net {
    pub fn new(
        broker: &Arc<DevBroker>,
        weather: Weather,
        chance: StdRng,
        calm: &Arc<AtomicBool>,
        links: &Arc<AtomicU64>,
    ) -> Arc<Self> {
        Arc::new(Self {
            broker: Arc::clone(broker),
            weather,
            chance: Mutex::new(chance),
            calm: Arc::clone(calm),
            unplugged: CancellationToken::new(),
            links: Arc::clone(links),
        })
    }

    /// Ends every link, and refuses new ones: its client is as good as dead.
    pub fn unplug(&self) {
        self.unplugged.cancel();
    }

    pub fn dial(self: &Arc<Self>) -> Dial {
        let net = Arc::clone(self);
        Arc::new(move |address: Address| {
            let net = Arc::clone(&net);
            async move { net.reach(&address).await.map_err(|why| vec![Attempt::new(address, why)]) }.boxed()
        })
    }

    fn drawn<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.chance.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn reach(&self, address: &Address) -> Result<Box<dyn Io>, &'static str> {
        let latency = self.weather.latency;
        let (refused, wait) = self.drawn(|chance| (chance.random_range(0..100), latency.mul_f64(chance.random())));
        sleep(wait).await;
        let calm = self.calm.load(Ordering::Relaxed);
        if self.unplugged.is_cancelled() || (!calm && refused < self.weather.refused) {
            return Err("refused by the weather");
        }
        let id = (1..=3).find(|id| self.broker.address(*id).is_some_and(|it| it.port() == address.port()));
        let far = id.and_then(|id| self.broker.connect(id, self.weather.pipe)).ok_or("nobody lives there")?;
        let (near, ours) = tokio::io::duplex(self.weather.pipe);
        self.links.fetch_add(1, Ordering::Relaxed);
        let (there, back) = self.drawn(|chance| (self.lane(chance), self.lane(chance)));
        let unplugged = self.unplugged.clone();
        tokio::spawn(async move {
            let (from_near, to_near) = tokio::io::split(near);
            let (from_far, to_far) = tokio::io::split(far);
            tokio::select! {
                biased;
                () = unplugged.cancelled() => {}
                () = there.carry(from_near, to_far) => {}
                () = back.carry(from_far, to_near) => {}
            }
        });
        Ok(Box::new(ours))
    }

    fn lane(&self, chance: &mut StdRng) -> Lane {
        let Weather { cut, silent, latency, pipe, .. } = self.weather;
        // As often early, in a handshake, as late.
        let bytes = 1 << chance.random_range(2..15u32);
        let bytes = chance.random_range(bytes / 2..bytes);
        let fate = match chance.random_range(0..100) {
            drawn if drawn < cut => Fate::Cut(bytes),
            drawn if drawn < cut + silent => Fate::Silent(bytes),
            _ => Fate::Lasts,
        };
        let piece = if chance.random_bool(0.1) { chance.random_range(1..8) } else { pipe };
        Lane { fate, piece, latency: latency.mul_f64(chance.random()), calm: Arc::clone(&self.calm) }
    }
}

/// One direction of a link.
struct Lane {
    fate: Fate,
    piece: usize,
    latency: Duration,
    calm: Arc<AtomicBool>,
}

impl Lane {
    /// Carries bytes until an end hangs up or fate strikes. In fair weather it strikes no more; who was struck stays so.
    async fn carry(self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let mut carried = 0;
        let mut buffer = vec![0; self.piece.min(4096)];
        let mut arrived = None;
        loop {
            let left = match self.fate {
                Fate::Cut(bytes) | Fate::Silent(bytes) if !self.calm.load(Ordering::Relaxed) => {
                    bytes - carried.min(bytes)
                }
                _ => buffer.len(),
            };
            if left == 0 {
                return self.strike().await;
            }
            let room = left.min(buffer.len());
            let Ok(n @ 1..) = from.read(&mut buffer[..room]).await else { return };
            // What is close behind other bytes arrives with them.
            if arrived.is_none_or(|at: Instant| at.elapsed() > self.latency) && !self.latency.is_zero() {
                sleep(self.latency).await;
            }
            arrived = Some(Instant::now());
            if to.write_all(&buffer[..n]).await.is_err() {
                return;
            }
            carried += n;
        }
    }

    async fn strike(&self) {
        if matches!(self.fate, Fate::Silent(_)) {
            std::future::pending::<()>().await;
        }
    }
}
