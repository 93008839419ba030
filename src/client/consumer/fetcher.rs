//! Brings every partition that is held to the [`reader`](super::reader) of the broker that leads it, and there again when
//! it has moved. The one owner of cursors that are on their way.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::cursor::{Cursor, Place};
use super::placing;
use super::reader::{Order, Reader, Shared};
use super::tenure::Tenure;
use crate::protocol::types::{BrokerId, Offset, TopicPartition};

/// What the fetcher is told. What is revoked or lost it learns from the tenures.
#[derive(Debug)]
pub(super) enum Request {
    /// Read these from here.
    Take(Vec<(Arc<Tenure>, Place)>),
    /// Go on after a broken batch.
    Skip { of: TopicPartition, past: Offset },
}

pub(super) struct Fetcher {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    back: mpsc::UnboundedSender<Cursor>,
    returned: mpsc::UnboundedReceiver<Cursor>,
    readers: BTreeMap<BrokerId, mpsc::UnboundedSender<Order>>,
    /// Dropped, and so ended, with the fetcher.
    tasks: JoinSet<()>,
    placing: JoinSet<Vec<Cursor>>,
    /// Decisions to go on, for cursors that are on their way when they are made.
    skips: BTreeMap<TopicPartition, Offset>,
}

impl Fetcher {
    pub fn new(shared: Arc<Shared>, requests: mpsc::Receiver<Request>) -> Self {
        let (back, returned) = mpsc::unbounded_channel();
        Self {
            shared,
            requests,
            back,
            returned,
            readers: BTreeMap::new(),
            tasks: JoinSet::new(),
            placing: JoinSet::new(),
            skips: BTreeMap::new(),
        }
    }

    /// Until the membership is over or the consumer is gone.
    pub async fn run(mut self) {
        let items = self.shared.items.clone();
        loop {
            tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(request) => self.obey(request),
                    None => return,
                },
                Some(cursor) = self.returned.recv() => self.take_back(cursor),
                Some(placed) = self.placing.join_next() => self.hand_over(placed.unwrap_or_default()),
                Some(_) = self.tasks.join_next() => {}
                () = items.closed() => return,
            }
        }
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Take(tenures) => {
                let cursors = tenures.into_iter().map(|(tenure, place)| Cursor::new(tenure, place));
                let cursors: Vec<Cursor> = cursors.collect();
                for cursor in &cursors {
                    self.skips.remove(cursor.topic_partition());
                }
                self.place(cursors);
            }
            Request::Skip { of, past } => {
                for reader in self.readers.values() {
                    let _ = reader.send(Order::Skip { of: of.clone(), past });
                }
                self.skips.insert(of, past);
            }
        }
    }

    /// With all the others that come back for the same reason.
    fn take_back(&mut self, cursor: Cursor) {
        let mut cursors = vec![cursor];
        while let Ok(cursor) = self.returned.try_recv() {
            cursors.push(cursor);
        }
        self.place(cursors);
    }

    /// At once, or when it is no longer too early for all of them.
    fn place(&mut self, mut cursors: Vec<Cursor>) {
        let shared = Arc::clone(&self.shared);
        let at = cursors.iter_mut().filter_map(|cursor| cursor.not_before.take()).max();
        self.placing.spawn(async move {
            if let Some(at) = at {
                sleep_until(at).await;
            }
            placing::place(&shared, &mut cursors).await;
            cursors
        });
    }

    fn hand_over(&mut self, placed: Vec<Cursor>) {
        let (mut homeless, mut refused) = (Vec::new(), Vec::new());
        let mut at: BTreeMap<BrokerId, Vec<Cursor>> = BTreeMap::new();
        for mut cursor in placed {
            if let Some(past) = self.skips.get(cursor.topic_partition()) {
                cursor.skip_to(*past);
            }
            match cursor.reader {
                Some(broker) => at.entry(broker).or_default().push(cursor),
                None if cursor.not_before.is_some() => refused.push(cursor),
                None => homeless.push(cursor),
            }
        }
        at.into_iter().for_each(|(broker, cursors)| self.send(broker, cursors));
        for cursors in [homeless, refused].into_iter().filter(|cursors| !cursors.is_empty()) {
            self.place(cursors);
        }
    }

    fn send(&mut self, broker: BrokerId, cursors: Vec<Cursor>) {
        let reader = self.readers.entry(broker).or_insert_with(|| {
            let (orders, receiver) = mpsc::unbounded_channel();
            self.tasks.spawn(Reader::new(broker, Arc::clone(&self.shared), receiver, self.back.clone()).run());
            orders
        });
        if let Err(mpsc::error::SendError(Order::Take(cursors))) = reader.send(Order::Take(cursors)) {
            // Its task has ended, by a panic: a new one takes over.
            self.readers.remove(&broker);
            self.place(cursors);
        }
    }
}
