//! What a seed stands for: how large the world is, how its clients are set up, and how bad the weather is.

use std::time::Duration;

use highwater::client::{
    Assignor, Compression, ConsumerConfig, GroupProtocol, IsolationLevel, OffsetReset, ProducerConfig, Topic,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

pub const TOPIC: &str = "t";
/// Where the relay writes to.
pub const OUTPUT: &str = "out";

/// See the module.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub partitions: i32,
    pub producers: Vec<Producing>,
    pub groups: Vec<Grouping>,
    pub storm: Duration,
    pub weather: Weather,
    /// The finalized level of `transaction.version` (KIP-890).
    pub transaction_version: i16,
    pub relay: Option<Relaying>,
}

/// One producer and what it does.
#[derive(Debug, Clone)]
pub struct Producing {
    pub records: usize,
    /// A transactional one ends a transaction after about so many records.
    pub per_transaction: Option<usize>,
    pub largest_value: usize,
    /// The longest pause between two records.
    pub pause: Duration,
    pub config: ProducerConfig,
}

/// One group and what its members are like.
#[derive(Debug, Clone)]
pub struct Grouping {
    pub name: String,
    /// How many members there may be at a time, and how long they stay.
    pub places: usize,
    pub stay: Duration,
    /// Of a hundred members, so many vanish instead of leaving.
    pub vanishing: u32,
    /// The longest that a delivery is worked on.
    pub work: Duration,
    /// What the places speak, in turn.
    pub protocols: &'static [GroupProtocol],
    /// Whether who comes to a place is who was there before (KIP-345).
    pub is_static: bool,
    config: ConsumerConfig,
}

impl Grouping {
    /// Of whoever is at that place.
    pub fn member(&self, place: usize) -> ConsumerConfig {
        let mut protocols = self.protocols.iter().copied().cycle();
        ConsumerConfig {
            group_protocol: protocols.nth(place).unwrap_or_default(),
            instance_id: self.is_static.then(|| format!("{}-{place}", self.name)),
            ..self.config.clone()
        }
    }

    pub fn isolation_level(&self) -> IsolationLevel {
        self.config.isolation_level
    }
}

/// A group that writes what it reads to another topic, exactly once.
#[derive(Debug, Clone)]
pub struct Relaying {
    pub grouping: Grouping,
    /// The most deliveries that a transaction carries.
    pub per_transaction: usize,
    /// Of a hundred workers, so many meet a rival that takes their transactional id.
    pub overtaken: u32,
    /// Of a hundred transactions, so many take longer than a member may be away from its group.
    pub late: u32,
    config: ProducerConfig,
}

impl Relaying {
    /// A little more than a member may take from one delivery to the next.
    pub fn too_long(&self) -> Duration {
        self.grouping.config.max_poll_interval + Duration::from_millis(100)
    }

    /// Of whoever is at that place.
    pub fn producer(&self, place: usize) -> ProducerConfig {
        ProducerConfig {
            seed: Some(100 + place as u64),
            transactional_id: Some(format!("{}-{place}", self.grouping.name)),
            ..self.config.clone()
        }
    }
}

/// What links do to bytes, and how often something else happens.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Of a hundred links, so many are cut after a while, and so many fall silent without an end.
    pub cut: u32,
    pub silent: u32,
    /// Of a hundred dials, so many are refused.
    pub refused: u32,
    pub latency: Duration,
    /// The room of a pipe; a small one splits frames.
    pub pipe: usize,
    /// The longest pause between two events.
    pub events: Duration,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let chance = &mut StdRng::seed_from_u64(seed);
        let producers = (0..chance.random_range(1..=3)).map(|n| producing(chance, n)).collect();
        let groups = (0..chance.random_range(1..=2)).map(|n| grouping(chance, n)).collect();
        Self {
            seed,
            partitions: chance.random_range(1..=4),
            producers,
            groups,
            storm: ms(chance, 2_000, 20_000),
            weather: weather(chance),
            transaction_version: if chance.random_bool(0.5) { 1 } else { 2 },
            // Drawn last, so that the rest of a seed is what it was before there were relays.
            relay: chance.random_bool(0.4).then(|| relaying(chance)),
        }
    }

    /// Randomness for one of those who act, apart from everybody else's.
    pub fn chance(&self, of: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003).wrapping_add(of))
    }
}

fn ms(chance: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(chance.random_range(least..=most))
}

fn producing(chance: &mut StdRng, n: usize) -> Producing {
    let transactional = chance.random_bool(0.3);
    let hasty = chance.random_bool(0.3);
    let config = ProducerConfig {
        compression: *Compression::ALL.choose(chance).unwrap_or(&Compression::None),
        linger: ms(chance, 0, 30),
        batch_bytes: chance.random_range(100..3000),
        delivery_timeout: if hasty { ms(chance, 500, 5_000) } else { Duration::from_secs(120) },
        request_timeout: ms(chance, 1_500, 5_000),
        max_block: if hasty { ms(chance, 1_000, 10_000) } else { Duration::from_secs(120) },
        in_flight_max: chance.random_range(1..=5),
        buffer_bytes: chance.random_range(4_000..100_000),
        seed: Some(n as u64),
        transactional_id: transactional.then(|| format!("writer-{n}")),
        ..ProducerConfig::default()
    };
    Producing {
        records: chance.random_range(10..120),
        per_transaction: transactional.then(|| chance.random_range(1..20)),
        largest_value: chance.random_range(20..400),
        pause: ms(chance, 0, 200),
        config,
    }
}

fn grouping(chance: &mut StdRng, n: usize) -> Grouping {
    let name = format!("group-{n}");
    let assignors = [
        &[Assignor::CooperativeSticky][..],
        &[Assignor::Range],
        &[Assignor::RoundRobin],
        &[Assignor::Sticky],
        &[Assignor::CooperativeSticky, Assignor::Range],
    ];
    let protocols = [
        &[GroupProtocol::Classic][..],
        &[GroupProtocol::Consumer],
        &[GroupProtocol::Auto],
        // As while a group goes over.
        &[GroupProtocol::Classic, GroupProtocol::Consumer],
    ];
    let config = ConsumerConfig {
        group_id: name.clone(),
        topics: vec![Topic::from(TOPIC)],
        auto_offset_reset: OffsetReset::Earliest,
        isolation_level: if chance.random_bool(0.5) {
            IsolationLevel::ReadCommitted
        } else {
            IsolationLevel::ReadUncommitted
        },
        assignors: assignors.choose(chance).map(|it| it.to_vec()).unwrap_or_default(),
        remote_assignor: [None, Some("uniform"), Some("range")].choose(chance).copied().flatten().map(str::to_owned),
        session_timeout: ms(chance, 6_000, 12_000),
        heartbeat_interval: ms(chance, 200, 2_000),
        commit_interval: ms(chance, 50, 2_000),
        drain_timeout: ms(chance, 10, 4_000),
        fetch_max_wait: ms(chance, 10, 500),
        partition_max_bytes: chance.random_range(500..5_000),
        fetch_max_bytes: chance.random_range(500..10_000),
        memory_bytes: chance.random_range(5_000..40_000),
        ..ConsumerConfig::default()
    };
    Grouping {
        name,
        places: chance.random_range(1..=3),
        stay: ms(chance, 1_000, 15_000),
        vanishing: *[0, 20, 60].choose(chance).unwrap_or(&0),
        work: ms(chance, 0, 300),
        protocols: protocols.choose(chance).copied().unwrap_or_default(),
        is_static: chance.random_bool(0.3),
        config,
    }
}

/// Patient enough to get on in any weather, as all of it has to be relayed in the end.
fn relaying(chance: &mut StdRng) -> Relaying {
    let (drawn, name) = (grouping(chance, 0), "relay".to_owned());
    let config = ConsumerConfig {
        group_id: name.clone(),
        auto_commit: false,
        isolation_level: IsolationLevel::ReadCommitted,
        ..drawn.config.clone()
    };
    let mut grouping = Grouping { name, places: chance.random_range(1..=2), is_static: false, config, ..drawn };
    let config = ProducerConfig {
        compression: *Compression::ALL.choose(chance).unwrap_or(&Compression::None),
        linger: ms(chance, 0, 30),
        batch_bytes: chance.random_range(100..3000),
        delivery_timeout: ms(chance, 20_000, 60_000),
        request_timeout: ms(chance, 2_000, 5_000),
        in_flight_max: chance.random_range(1..=5),
        transaction_timeout: ms(chance, 15_000, 60_000),
        ..ProducerConfig::default()
    };
    let (per_transaction, overtaken) = (chance.random_range(1..=10), *[0, 50, 100].choose(chance).unwrap_or(&0));
    // Rivals fence each other by their transactional ids, and not by their instances before that.
    grouping.is_static = overtaken == 0 && chance.random_bool(0.5);
    let late = *[0, 30].choose(chance).unwrap_or(&0);
    if late > 0 {
        grouping.config.max_poll_interval = ms(chance, 1_000, 4_000);
    }
    Relaying { grouping, per_transaction, overtaken, late, config }
}

fn weather(chance: &mut StdRng) -> Weather {
    let mut often = |choices: &[u32]| *choices.choose(chance).unwrap_or(&0);
    let (cut, silent, refused) = (often(&[0, 20, 60]), often(&[0, 0, 10]), often(&[0, 10, 40]));
    Weather {
        cut,
        silent,
        refused,
        latency: Duration::from_millis(*[0, 2, 30, 300].choose(chance).unwrap_or(&0)),
        pipe: *[97, 1_000, 1 << 16].choose(chance).unwrap_or(&1_000),
        events: ms(chance, 20, 1_000),
    }
}
