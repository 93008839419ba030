//! Bytes that nobody should send, to everything that reads bytes, under a memory limit: an allocator that counts.
//!
//! Every valid encoding is spoiled at every place by lengths that mean no good, cut at every place, and made longer by what
//! such a length claims; then come cases drawn at random. What comes of it may be an error or a value; it must not panic, not
//! overflow the stack, and never hold more than a small multiple of the input, which is in the table of targets.
//!
//! ```text
//! cargo test --release -p protocol-tests --test hostile               # some cases
//! CASES=1000000 cargo test --release -p protocol-tests --test hostile # so many a target at random, and all hostile lengths
//! TARGET=zstd SEED=7 CASES=100000 …                                   # one target, other cases
//! ```
//!
//! What is counted is what the whole process allocates, so the harness is our own, and nothing runs beside a case.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peak_alloc::PeakAlloc;
use protocol_tests::fuzz::{Target, messages, mutate, target, targets};
use protocol_tests::is_asked_for;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// At random, for each target, in a plain `cargo test`.
const CASES: u64 = 1_500;
/// Of all hostile lengths, so many at each place then.
const AT_EACH_PLACE: usize = 2;

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// What a target has been given, and the worst that came of it.
#[derive(Default)]
struct Account {
    cases: u64,
    /// The most bytes that were held for one of the input, of inputs that are not tiny.
    worst_ratio: f64,
    worst_bytes: usize,
    slowest: Duration,
}

impl Account {
    /// Gives it to the target, and asks what it took.
    fn run(&mut self, target: &Target, input: &[u8]) {
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let began = Instant::now();
        let outcome = std::panic::catch_unwind(|| (target.run)(input));
        let took = began.elapsed();
        let held = MEMORY.peak_usage().saturating_sub(before);
        assert!(outcome.is_ok(), "{} panics over {}", target.name, hex(input));
        let most = target.bytes_each * input.len() + target.bytes_besides;
        assert!(held <= most, "{} holds {held} bytes for {}, of {}", target.name, input.len(), hex(input));
        self.cases += 1;
        self.worst_bytes = self.worst_bytes.max(held);
        self.slowest = self.slowest.max(took);
        if input.len() >= 64 {
            self.worst_ratio = self.worst_ratio.max(held as f64 / input.len() as f64);
        }
    }

    fn tell(&self, name: &str) {
        let Self { cases, worst_ratio, worst_bytes, slowest } = self;
        println!(
            "{name}: {cases} cases, at most {worst_bytes} bytes held, {worst_ratio:.0} for one of input, {slowest:.1?}"
        );
    }
}

/// The whole input, or as much as is needed to find it again.
fn hex(input: &[u8]) -> String {
    let mut text = String::new();
    for byte in input.iter().take(700) {
        let _ = write!(text, "{byte:02x}");
    }
    text + if input.len() > 700 { "…" } else { "" }
}

/// Spoils an input at every place from the given one on, and cuts it everywhere.
fn spoil(account: &mut Account, target: &Target, input: &[u8], from: usize) {
    let each = if setting::<u64>("CASES").is_some() { mutate::HOSTILE.len() } else { AT_EACH_PLACE };
    for at in from..input.len() {
        account.run(target, &input[..at]);
        for n in 0..each {
            let hostile = mutate::HOSTILE[(at * AT_EACH_PLACE + n) % mutate::HOSTILE.len()];
            account.run(target, &mutate::overwrite(input, at, hostile));
        }
    }
}

/// Lets a length be true: whatever it counts, there are bytes enough for the smallest of it.
fn make_true(account: &mut Account, target: &Target, input: &[u8], from: usize, chance: &mut SmallRng) {
    let wide: Vec<_> = mutate::HOSTILE.iter().filter(|hostile| hostile.len() > 1).collect();
    for _ in 0..4 {
        let at = chance.random_range(from..=input.len());
        let hostile = wide.choose(chance).copied().copied().unwrap_or_default();
        for byte in [0, 1] {
            let more = chance.random_range(100..8_000);
            account.run(target, &mutate::overwrite_and_go_on(input, at, hostile, more, byte));
        }
    }
}

fn every_message_is_spoiled_at_every_place() {
    assert!(messages().len() > 900, "{} messages", messages().len());
    let mut accounts: BTreeMap<bool, Account> = BTreeMap::new();
    let chance = &mut SmallRng::seed_from_u64(1);
    for message in messages() {
        assert!(message.decode(message.body.clone()), "{message:?}");
        let target = target(if message.is_request { "requests" } else { "responses" });
        let account = accounts.entry(message.is_request).or_default();
        let input = message.bytes();
        // Key and version stay.
        spoil(account, target, &input, 4);
        make_true(account, target, &input, 4, chance);
    }
    for (is_request, account) in accounts {
        account.tell(if is_request { "requests" } else { "responses" });
    }
}

fn everything_else_is_spoiled_at_every_place() {
    for target in targets().iter().filter(|target| !["requests", "responses"].contains(&target.name)) {
        let mut account = Account::default();
        for input in (target.seeds)() {
            account.run(target, &input);
            spoil(&mut account, target, &input[..input.len().min(1_500)], 0);
        }
        account.tell(target.name);
    }
}

fn cases_drawn_at_random() {
    let cases = setting("CASES").unwrap_or(CASES);
    let seed = setting("SEED").unwrap_or(0);
    let only: Option<String> = setting("TARGET");
    for target in targets().iter().filter(|target| only.as_deref().is_none_or(|only| only == target.name)) {
        let chance = &mut SmallRng::seed_from_u64(seed);
        let seeds: Vec<Bytes> = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has nothing to spoil", target.name);
        let mut account = Account::default();
        for _ in 0..cases {
            let input = seeds.choose(chance).cloned().unwrap_or_default();
            account.run(target, &mutate::at_random(&input, &seeds, chance));
        }
        account.tell(target.name);
    }
}

fn main() {
    if !is_asked_for("hostile") {
        return;
    }
    every_message_is_spoiled_at_every_place();
    everything_else_is_spoiled_at_every_place();
    cases_drawn_at_random();
}
