//! Of which API the bytes are that go over a connection. A request says it behind its length; an answer does not, but a broker
//! answers one connection strictly in order.
//!
//! What passes is looked at, and left as it is: whatever a broker does, no more than these numbers is wrong.

use std::collections::VecDeque;
use std::sync::Arc;

use super::layer::observe::Counters;

const LENGTH_BYTES: usize = 4;
const KEY_BYTES: usize = 2;
/// As much of a request as says which API it is of.
const REQUEST_HEAD_BYTES: usize = LENGTH_BYTES + KEY_BYTES;

/// Counts what goes over one connection.
#[derive(Debug)]
pub struct Tally {
    counters: Arc<Counters>,
    request: Frame<REQUEST_HEAD_BYTES>,
    answer: Frame<LENGTH_BYTES>,
    /// The APIs of requests that are not answered yet, by their keys: as many as may be in flight.
    asked: VecDeque<i16>,
}

impl Tally {
    pub fn new(counters: Arc<Counters>) -> Self {
        Self { counters, request: Frame::new(), answer: Frame::new(), asked: VecDeque::new() }
    }

    /// These were written.
    pub fn sent(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.request.pass(&mut bytes);
            let [.., high, low] = self.request.head;
            let key = i16::from_be_bytes([high, low]);
            self.counters.sent(key, passed.bytes);
            if passed.begins {
                self.asked.push_back(key);
            }
        }
    }

    /// These were read. An answer that nobody asked for is no API's.
    pub fn received(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = self.answer.pass(&mut bytes);
            if let Some(key) = self.asked.front() {
                self.counters.received(*key, passed.bytes);
            }
            if self.answer.is_over() {
                self.asked.pop_front();
            }
        }
    }
}

/// How much of a frame has passed.
#[derive(Debug)]
struct Frame<const HEAD_BYTES: usize> {
    /// Its length, and what more has to be known of it.
    head: [u8; HEAD_BYTES],
    /// So many bytes of the head are here.
    known: usize,
    /// So many are to come behind it.
    left: usize,
}

impl<const HEAD_BYTES: usize> Frame<HEAD_BYTES> {
    fn new() -> Self {
        Self { head: [0; HEAD_BYTES], known: 0, left: 0 }
    }

    /// Takes what is of this frame, or of the next one if this is over, off the bytes.
    fn pass(&mut self, bytes: &mut &[u8]) -> Passed {
        if self.is_over() {
            self.known = 0;
        }
        let missing = HEAD_BYTES - self.known;
        let head = take(bytes, missing);
        self.head[self.known..][..head.len()].copy_from_slice(head);
        self.known += head.len();
        if self.known < HEAD_BYTES {
            return Passed { bytes: 0, begins: false };
        }
        let begins = missing > 0;
        if begins {
            self.left = self.length().saturating_sub(HEAD_BYTES - LENGTH_BYTES);
        }
        let body = take(bytes, self.left);
        self.left -= body.len();
        Passed { bytes: body.len() + if begins { HEAD_BYTES } else { 0 }, begins }
    }

    /// A length below zero ends the connection elsewhere.
    fn length(&self) -> usize {
        let length = self.head.first_chunk::<LENGTH_BYTES>().map_or(0, |length| i32::from_be_bytes(*length));
        usize::try_from(length).unwrap_or(0)
    }

    fn is_over(&self) -> bool {
        self.known == HEAD_BYTES && self.left == 0
    }
}

/// What is to be counted of a frame.
#[derive(Debug)]
struct Passed {
    /// None before its head is known, and with that all of the head.
    bytes: usize,
    /// Whether its head is known from now on.
    begins: bool,
}

/// The first of these bytes, at most so many.
fn take<'b>(bytes: &mut &'b [u8], most: usize) -> &'b [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    /// Behind its length it has so many bytes, the first two of which are its key.
    fn request(key: i16, bytes: usize) -> Vec<u8> {
        let mut body = key.to_be_bytes().to_vec();
        body.resize(bytes, 7);
        frame(&body)
    }

    #[test]
    fn every_byte_is_of_its_api_whatever_the_pieces() {
        // The key, and how much is asked and answered behind the lengths.
        let exchanges = [(3, 2, 0), (1, 70_000, 5), (3, 40, 300), (18, 9, 1), (1, 6, 70_000)];
        let requests: Vec<u8> = exchanges.iter().flat_map(|(key, asked, _)| request(*key, *asked)).collect();
        let answers: Vec<u8> = exchanges.iter().flat_map(|(.., answered)| frame(&vec![7; *answered])).collect();
        for piece in [1, 2, 3, 5, 6, 7, 64, 1_000_000] {
            let counters = Arc::new(Counters::default());
            let mut tally = Tally::new(Arc::clone(&counters));
            // Nobody has asked for these.
            frame(&[7; 9]).chunks(piece).for_each(|piece| tally.received(piece));
            requests.chunks(piece).for_each(|piece| tally.sent(piece));
            answers.chunks(piece).for_each(|piece| tally.received(piece));
            let stats: Vec<_> = counters.stats().iter().map(|it| (it.api, it.sent_bytes, it.received_bytes)).collect();
            let want = [("ApiVersions", 13, 5), ("Fetch", 70_014, 70_013), ("Metadata", 50, 308)];
            assert_eq!(stats, want, "in pieces of {piece}");
            assert!(tally.asked.is_empty(), "in pieces of {piece}");
            let (sum, traffic) = (requests.len() + answers.len(), counters.traffic());
            assert_eq!(traffic.sent_bytes + traffic.received_bytes, sum as u64);
        }
    }
}
