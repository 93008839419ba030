use super::super::join::Commits;
use super::*;
use crate::client::LeaderEpoch;

impl Tails {
    /// One who has seen this.
    pub fn knowing(partition: &TopicPartition, contents: Contents) -> Self {
        let (contents, lineage) = (Some(Arc::new(contents)), Lineage::default());
        let known = Known { lineage, end: 0, times: 1, contents, used_in: 0 };
        Self { known: HashMap::from([(partition.clone(), known)]), ..Self::default() }
    }
}

/// A monitor's memory, and what its sweeps find of topic `t`.
struct World {
    tails: Tails,
    /// What each partition has committed by groups, and its end.
    partitions: Vec<(Vec<Offset>, Offset)>,
    epoch: LeaderEpoch,
}

/// What is asked of which partition, from where on.
type Asked = Vec<(i32, Offset)>;

impl World {
    fn new(partitions: &[(&[Offset], Offset)]) -> Self {
        let partitions = partitions.iter().map(|(commits, end)| (commits.to_vec(), *end)).collect();
        Self { tails: Tails::new(100), partitions, epoch: 1 }
    }

    fn sweep(&self) -> Sweep {
        let groups = self.partitions.iter().map(|(commits, _)| commits.len()).max().unwrap_or(0);
        let commits = |group: usize| Commits {
            group: Arc::from(format!("g-{group}")),
            topic: "t".into(),
            offsets: (0..).zip(&self.partitions).filter_map(|(at, it)| Some((at, *it.0.get(group)?))).collect(),
            before_it: vec![],
        };
        let lineage = Lineage { topic_id: None, leader_epoch: Some(self.epoch) };
        Sweep {
            commits: (0..groups).map(commits).collect(),
            partitions: (0..).zip(&self.partitions).map(|(at, _)| TopicPartition::new("t", at)).collect(),
            ends: self.partitions.iter().map(|(_, end)| Ok(*end)).collect(),
            lineages: vec![lineage; self.partitions.len()],
            ..Sweep::default()
        }
    }

    /// A round, in which whatever is asked gets an answer.
    fn round(&mut self, answer: impl Fn(&Wanted) -> Option<Result<Contents, Error>>) -> Asked {
        let wanted = self.tails.wanted(&self.sweep(), &HashMap::new());
        let asked = wanted.iter().map(|it| (it.partition.partition, it.from)).collect();
        let said = wanted.iter().filter_map(|it| Some((it.partition.clone(), answer(it)?))).collect();
        self.tails.learn(wanted, said);
        asked
    }

    /// The same, in a log of these words.
    fn read(&mut self, words: &str) -> Asked {
        self.round(|it| Some(Ok(Contents::of(it.from, words))))
    }

    /// In which of so many rounds something is asked, counted from the next one.
    fn asked_in(&mut self, rounds: u32, answer: impl Fn(&Wanted) -> Option<Result<Contents, Error>>) -> Vec<u32> {
        (1..=rounds).filter(|_| !self.round(&answer).is_empty()).collect()
    }

    fn records(&self, committed: Offset) -> u64 {
        let end = self.partitions[0].1;
        let tail = self.tails.of(&TopicPartition::new("t", 0));
        tail.map_or((end - committed) as u64, |it| it.records(&(committed..end), IsolationLevel::ReadUncommitted))
    }
}

const COMMITTED: &str = "0+3p9 3c9";

#[test]
fn an_end_of_a_transaction_is_looked_at_once() {
    let mut world = World::new(&[(&[3], 4), (&[4], 4)]);
    assert_eq!((world.records(3), world.read(COMMITTED)), (1, vec![(0, 3)]), "at first nobody is known to move");
    assert_eq!(world.records(3), 0);
    assert_eq!(world.asked_in(500, |_| None), [0; 0], "nothing moves");
    // A record comes: it counts at once, and is looked at when it stays.
    world.partitions[0].1 = 5;
    let more = format!("{COMMITTED} 4+1");
    assert_eq!((world.read(&more), world.records(3)), (vec![], 1));
    assert_eq!((world.read(&more), world.read(&more)), (vec![], vec![(0, 3)]));
    assert_eq!((world.records(3), world.records(4)), (1, 1));
    assert_eq!(world.asked_in(500, |_| None), [0; 0]);
}

#[test]
fn who_moves_is_not_looked_at() {
    let answer = |it: &Wanted| Some(Ok(Contents::of(it.from, COMMITTED)));
    let mut world = World::new(&[(&[4], 4)]);
    assert_eq!(world.round(answer), []);
    for end in 5..50 {
        world.partitions[0].1 = end;
        assert_eq!(world.round(answer), [], "the end moves");
    }
    for committed in 5..48 {
        world.partitions[0].0 = vec![committed];
        assert_eq!(world.round(answer), [], "the reader moves");
    }
    assert_eq!(world.round(answer), [(0, 47)], "it stays");
    let far = |lag_max| {
        let mut world = World::new(&[(&[3], 104), (&[3], 103)]);
        world.tails = Tails::new(lag_max);
        world.read("")
    };
    assert_eq!((far(100), far(0)), (vec![(1, 3)], vec![]));
}

#[test]
fn what_is_asked_again_and_when() {
    let check = |words: &'static str, rounds, want: &[u32]| {
        let mut world = World::new(&[(&[3], 6)]);
        let answer = |it: &Wanted| match words {
            "refused" => Some(Err(Error::from(ErrorCode::TOPIC_AUTHORIZATION_FAILED))),
            "away" => Some(Err(Error::from(ErrorCode::LEADER_NOT_AVAILABLE))),
            "silent" => None,
            words => Some(Ok(Contents::of(it.from, words))),
        };
        assert_eq!(world.asked_in(rounds, answer), want, "{words}");
        assert!(world.records(3) > 0, "{words}");
    };
    check("refused", 800, &[1, 361, 721]);
    check("away", 400, &[1, 7, 19, 43, 91, 187, 367]);
    check("silent", 30, &[1, 7, 19]);
    // Only records, and the same ones: never again.
    check("0+6", 800, &[1]);
    // Nothing, or not all of it, was seen: a few times.
    check("", 800, &[1, 7, 19]);
    check("3+1 4c9", 800, &[1, 2, 3]);
}

#[test]
fn topics_without_transactions_are_looked_at_ever_more_seldom() {
    let mut world = World::new(&[(&[0], 1)]);
    let mut asked = vec![];
    for end in 1..200 {
        world.partitions[0] = (vec![end - 1], end);
        let words = format!("{}+1", end - 1);
        asked.extend((0..4).map(|_| world.read(&words).len()));
    }
    assert_eq!(asked.iter().sum::<usize>(), 9, "of 200 ends in 800 rounds");
    // One in which there was one is looked at whenever it stays.
    let mut world = World::new(&[(&[3], 4)]);
    assert_eq!(world.read(COMMITTED).len(), 1);
    world.partitions[0].1 = 5;
    let asked = world.asked_in(10, |it| Some(Ok(Contents::of(it.from, "3c9 4+1"))));
    world.partitions[0].1 = 6;
    assert_eq!((asked, world.asked_in(10, |it| Some(Ok(Contents::of(it.from, "3c9 4+2"))))), (vec![3], vec![3]));
}

#[test]
fn what_is_of_another_life_is_forgotten() {
    let check = |change: fn(&mut World), want: u64| {
        let mut world = World::new(&[(&[3], 4)]);
        world.read(COMMITTED);
        change(&mut world);
        world.round(|_| None);
        assert_eq!(world.records(3), want);
    };
    check(|_| {}, 0);
    check(|world| world.epoch = 2, 1);
    check(
        |world| {
            world.partitions[0].1 = 3;
            world.round(|_| None);
            world.partitions[0].1 = 4;
        },
        1,
    );
    // A leader that does not answer takes nothing back, and what is of no use to anybody is dropped in the end.
    check(
        |world| {
            let sweep =
                Sweep { ends: vec![Err(Reason::EndUnknown)], lineages: vec![Lineage::default()], ..world.sweep() };
            assert_eq!(world.tails.wanted(&sweep, &HashMap::new()), []);
        },
        0,
    );
    let mut world = World::new(&[(&[3], 4)]);
    world.read(COMMITTED);
    world.partitions[0].0 = vec![4];
    world.asked_in(KEPT_FOR, |_| None);
    assert_eq!(world.tails.known.len(), 1);
    world.round(|_| None);
    assert!(world.tails.known.is_empty());
}

#[test]
fn several_readers_are_one_question() {
    let words = "0+3p9 3c9 4+2p9 6a9";
    let mut world = World::new(&[(&[3, 6, 1], 7)]);
    assert_eq!(world.read(words), [(0, 1)]);
    assert_eq!([1, 3, 6, 7].map(|committed| world.records(committed)), [4, 2, 0, 0]);
    // One is behind the others from now on, and what they are told stays.
    world.partitions[0].0 = vec![3, 6, 0];
    assert_eq!([(); 3].map(|()| world.read(words)), [vec![], vec![(0, 0)], vec![]]);
    assert_eq!([0, 3, 6].map(|committed| world.records(committed)), [5, 2, 0]);
}

/// An answer has room for so much: a reader that is further back than that hides nothing of one that is not.
#[test]
fn who_is_far_behind_hides_nobody() {
    let mut world = World::new(&[(&[1, 100], 101)]);
    let room = |it: &Wanted| Some(Ok(Contents::of(it.from, if it.from == 1 { "1+9p9" } else { "100c9" })));
    assert_eq!([(); 4].map(|()| world.round(room)), [vec![(0, 1)], vec![(0, 100)], vec![(0, 1)], vec![]]);
    assert_eq!([1, 100].map(|committed| world.records(committed)), [99, 0]);
}

#[test]
fn a_round_asks_about_so_many_partitions() {
    let all: Vec<(&[Offset], Offset)> = vec![(&[3], 4); ASKED_MAX + 44];
    let mut world = World::new(&all);
    let asked: Vec<usize> = (0..4).map(|_| world.read(COMMITTED).len()).collect();
    assert_eq!(asked, [ASKED_MAX, 44, 0, 0]);
}
