//! What a partition's end offset was, and when: one ring a partition. Pure.

use std::collections::{HashMap, VecDeque};

/// Fewer samples of a partition are no history.
pub(super) const SAMPLES_MIN: usize = 4;
/// Clocks of monitors that share a history differ by less.
const CLOCKS_DIFFER_MS: i64 = 1_000;

use crate::client::{LeaderEpoch, Offset, TopicId, TopicPartition};

/// One answer to "what is the end offset?". The true moment of the answer lies between the two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When the request was sent, in milliseconds since 1970.
    pub asked_ms: i64,
    /// When the reply was there.
    pub answered_ms: i64,
    pub end_offset: Offset,
}

impl Sample {
    /// By a clock that is ahead of the one of this sample.
    pub(super) fn moved(self, ahead_ms: i64) -> Self {
        Self {
            asked_ms: self.asked_ms.saturating_add(ahead_ms),
            answered_ms: self.answered_ms.saturating_add(ahead_ms),
            ..self
        }
    }
}

/// A sample as a store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    pub sample: Sample,
    /// Of the leader that was known to have all of the log.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// One rung of the time ladder: every record below `offset` has a timestamp before `time_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub time_ms: i64,
    pub offset: Offset,
}

/// Which life of a partition an answer speaks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lineage {
    pub topic_id: Option<TopicId>,
    /// Of the leader that answered.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Why a history ended and another began: offsets of before and of after speak of different records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Break {
    /// The topic has another id: it was deleted and made anew.
    Recreated,
    /// The end, or the leader's epoch, went back, or a new leader does not have all that the one before it had: records
    /// are gone from the end of the log.
    Truncated,
}

impl Break {
    pub const ALL: [Self; 2] = [Self::Recreated, Self::Truncated];

    pub fn name(self) -> &'static str {
        match self {
            Self::Recreated => "recreated",
            Self::Truncated => "truncated",
        }
    }
}

/// How often histories ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Breaks {
    pub recreated: u64,
    pub truncated: u64,
}

impl Breaks {
    pub fn of(self, kind: Break) -> u64 {
        match kind {
            Break::Recreated => self.recreated,
            Break::Truncated => self.truncated,
        }
    }

    fn count(&mut self, kind: Break) {
        match kind {
            Break::Recreated => self.recreated += 1,
            Break::Truncated => self.truncated += 1,
        }
    }
}

/// A sample, as differences to the base of its ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed {
    asked: u32,
    took: u32,
    end: u32,
}

/// A ladder that was not climbed to its end is climbed again, so often in all: an index that never answers in time is not
/// waited for in every round.
const CLIMBS_MAX: u8 = 3;

/// What is remembered of one partition: samples of our own, and before them what Kafka's time index says.
#[derive(Debug, Clone, Default)]
pub struct Ring {
    /// The newest of those that are too far back to be packed: what it proves of the age of older records holds on.
    oldest: Option<Box<Sample>>,
    base_ms: i64,
    base_offset: Offset,
    /// After the oldest, in order; end offsets never go back. They reach back 49 days and four thousand million records at
    /// most, so that twelve bytes hold a sample.
    samples: VecDeque<Packed>,
    /// In order, all before the first sample.
    probes: Box<[Probe]>,
    climbs: u8,
    lineage: Lineage,
    /// The last end that is known of a leader of that epoch.
    epoch_end: Offset,
    /// Whether the leader of a later epoch has the log up to there, once it was asked.
    has_all: Option<bool>,
    /// The leader of a later epoch has not said yet what it has.
    is_doubted: bool,
}

impl Ring {
    pub fn len(&self) -> usize {
        self.unpacked_len() + self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    pub fn sample(&self, index: usize) -> Option<Sample> {
        match index.checked_sub(self.unpacked_len()) {
            None => self.oldest.as_deref().copied(),
            Some(index) => self.samples.get(index).map(|packed| self.unpacked(*packed)),
        }
    }

    pub fn first(&self) -> Option<Sample> {
        self.sample(0)
    }

    pub fn last(&self) -> Option<Sample> {
        self.samples.back().map(|packed| self.unpacked(*packed))
    }

    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.oldest.as_deref().copied().into_iter().chain(self.samples.iter().map(|packed| self.unpacked(*packed)))
    }

    /// How many samples, from the oldest on, have an end offset of at most `offset`.
    pub fn ending_by(&self, offset: Offset) -> usize {
        self.first_not(|sample| sample.end_offset <= offset)
    }

    /// How many samples, from the oldest on, were answered by this time.
    pub fn answered_by(&self, time_ms: i64) -> usize {
        self.first_not(|sample| sample.answered_ms <= time_ms)
    }

    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// Whether Kafka's time index could still say more than the samples do: it was not asked, or has not said all, and the
    /// first unread record is older than the first sample.
    pub fn lacks_probes(&self, position: Offset) -> bool {
        self.climbs < CLIMBS_MAX && self.first().is_some_and(|first| position < first.end_offset)
    }

    /// Records a second, over the samples of about the last `window_ms`; `None` while there are not two.
    pub fn produced_per_second(&self, window_ms: i64) -> Option<f64> {
        let last = self.last()?;
        let begin = self.first_not(|it| it.answered_ms < last.answered_ms - window_ms);
        let first = self.sample(begin.min(self.len().checked_sub(2)?))?;
        let seconds = (last.answered_ms - first.answered_ms) as f64 / 1000.0;
        (seconds > 0.0).then(|| (last.end_offset - first.end_offset) as f64 / seconds)
    }

    /// As [`History::clock_was_set`] says. Where it is more than a sample can hold, the history begins anew.
    fn clock_was_set(&mut self, unseen_ms: i64) {
        (self.probes, self.climbs) = Default::default();
        let longest = self.samples.iter().map(|packed| packed.took).max().unwrap_or_default();
        let Some(unseen) = u32::try_from(unseen_ms).ok().filter(|it| longest.checked_add(*it).is_some()) else {
            *self = Self { lineage: self.lineage, ..Self::default() };
            return;
        };
        self.base_ms -= unseen_ms;
        self.samples.iter_mut().for_each(|packed| packed.took += unseen);
        self.oldest.iter_mut().for_each(|oldest| oldest.asked_ms -= unseen_ms);
    }

    /// Whether samples may be of another life than the last one: nothing is to be made of them until that is known.
    pub(super) fn is_doubted(&self) -> bool {
        self.is_doubted
    }

    /// Of the last leader that is known to have all that was seen of the log.
    pub(super) fn leader_epoch(&self) -> Option<LeaderEpoch> {
        self.lineage.leader_epoch
    }

    /// What it takes in memory beside itself.
    fn bytes(&self) -> usize {
        self.samples.capacity() * size_of::<Packed>()
            + size_of_val(self.probes())
            + self.unpacked_len() * size_of::<Sample>()
    }

    fn unpacked_len(&self) -> usize {
        usize::from(self.oldest.is_some())
    }

    /// The index of the first sample of which this is not so, where it is so of those before it and of none after.
    fn first_not(&self, is_so: impl Fn(Sample) -> bool) -> usize {
        match self.oldest.as_deref() {
            Some(oldest) if !is_so(*oldest) => 0,
            _ => self.unpacked_len() + self.samples.partition_point(|packed| is_so(self.unpacked(*packed))),
        }
    }

    /// Whether `lineage` is another life than the one that is remembered.
    fn broken_by(&self, sample: Sample, lineage: Lineage) -> Option<Break> {
        let last = self.last()?;
        if let (Some(known), Some(now)) = (self.lineage.topic_id, lineage.topic_id)
            && known != now
        {
            return Some(Break::Recreated);
        }
        let older =
            matches!((self.lineage.leader_epoch, lineage.leader_epoch), (Some(known), Some(now)) if now < known);
        let lacks_some = self.has_all == Some(false);
        (older || lacks_some || sample.end_offset < last.end_offset).then_some(Break::Truncated)
    }

    /// A later epoch is not taken for known before its leader was asked what it has.
    fn go_on(&mut self, sample: Sample, lineage: Lineage) {
        let was_asked = self.has_all.take().is_some();
        let (known, now) = (self.lineage.leader_epoch, lineage.leader_epoch);
        self.lineage.topic_id = lineage.topic_id.or(self.lineage.topic_id);
        if known.is_none() || was_asked {
            self.lineage.leader_epoch = now.or(known);
        }
        self.is_doubted = self.lineage.leader_epoch.zip(now).is_some_and(|(known, now)| now > known);
        if now == self.lineage.leader_epoch {
            self.epoch_end = sample.end_offset;
        }
    }

    fn push(&mut self, sample: Sample, samples_max: usize) {
        // While nothing is produced, only the ends of the flat stretch prove anything.
        let flat = |at: usize| self.sample(at).is_some_and(|known| known.end_offset == sample.end_offset);
        let count = self.len();
        if count >= 2 && flat(count - 1) && flat(count - 2) {
            self.samples.pop_back();
        }
        let packed = match self.packed(sample) {
            Some(packed) => packed,
            None => self.make_room_for(sample),
        };
        self.samples.push_back(packed);
        if self.samples.len() > samples_max {
            thin(&mut self.samples);
        }
    }

    fn unpacked(&self, packed: Packed) -> Sample {
        let asked_ms = self.base_ms + i64::from(packed.asked);
        Sample {
            asked_ms,
            answered_ms: asked_ms + i64::from(packed.took),
            end_offset: self.base_offset + i64::from(packed.end),
        }
    }

    fn packed(&self, sample: Sample) -> Option<Packed> {
        Some(Packed {
            asked: u32::try_from(sample.asked_ms - self.base_ms).ok().filter(|_| !self.is_empty())?,
            took: u32::try_from(sample.answered_ms - sample.asked_ms).ok()?,
            end: u32::try_from(sample.end_offset - self.base_offset).ok()?,
        })
    }

    /// Forgets what is too far back to be packed beside `sample`, but for the newest of it, and counts from the oldest of
    /// what is left.
    fn make_room_for(&mut self, sample: Sample) -> Packed {
        let mut samples: Vec<Sample> = self.samples.iter().map(|packed| self.unpacked(*packed)).collect();
        let reaches = |from: &Sample| {
            let differences = [sample.asked_ms - from.asked_ms, sample.end_offset - from.end_offset];
            differences.into_iter().all(|difference| u32::try_from(difference).is_ok())
        };
        let kept = samples.split_off(samples.iter().position(reaches).unwrap_or(samples.len()));
        if let Some(forgotten) = samples.pop() {
            self.oldest = Some(Box::new(forgotten));
        }
        let base = kept.first().copied().unwrap_or(sample);
        (self.base_ms, self.base_offset) = (base.asked_ms, base.end_offset);
        let packed = |it: &Sample| Packed {
            asked: u32::try_from(it.asked_ms - base.asked_ms).unwrap_or(u32::MAX),
            took: u32::try_from(it.answered_ms - it.asked_ms).unwrap_or(u32::MAX),
            end: u32::try_from(it.end_offset - base.end_offset).unwrap_or(u32::MAX),
        };
        self.samples = kept.iter().map(packed).collect();
        packed(&sample)
    }
}

/// The rings of all partitions. Memory is bounded by partitions × samples × 12 bytes, and a few probes each.
#[derive(Debug)]
pub struct History {
    rings: HashMap<TopicPartition, Ring>,
    samples_max: usize,
    pub breaks: Breaks,
}

impl History {
    /// At least four samples a partition are kept, because fewer cannot be thinned.
    pub fn new(samples_max: usize) -> Self {
        Self { rings: HashMap::new(), samples_max: samples_max.max(SAMPLES_MIN), breaks: Breaks::default() }
    }

    pub fn of(&self, partition: &TopicPartition) -> Option<&Ring> {
        self.rings.get(partition)
    }

    pub fn partitions(&self) -> usize {
        self.rings.len()
    }

    pub fn samples(&self) -> usize {
        self.rings.values().map(Ring::len).sum()
    }

    /// What the samples and probes take in memory.
    pub fn bytes(&self) -> usize {
        self.rings.values().map(Ring::bytes).sum::<usize>()
            + self.rings.capacity() * size_of::<(TopicPartition, Ring)>()
    }

    /// Adds the newest sample. One that cannot be of the same life ends the partition's history and begins another.
    pub fn add(&mut self, partition: &TopicPartition, sample: Sample, lineage: Lineage) -> Option<Break> {
        if !self.rings.contains_key(partition) {
            self.rings.insert(partition.clone(), Ring::default());
        }
        let ring = self.rings.get_mut(partition)?;
        let broken = ring.broken_by(sample, lineage);
        if let Some(kind) = broken {
            self.breaks.count(kind);
            // What the time index says of the new life is asked when somebody needs it.
            *ring = Ring::default();
        }
        ring.go_on(sample, lineage);
        ring.push(sample, self.samples_max);
        broken
    }

    /// The epoch that a partition's leader had before, where it has a later one now: the log may have been cut in between,
    /// and have grown again since, and only its leader knows ([`Self::epoch_ended`]).
    pub fn doubted(&self, partition: &TopicPartition, lineage: Lineage) -> Option<LeaderEpoch> {
        let known = self.rings.get(partition)?.lineage;
        let is_same = known.topic_id.is_none() || lineage.topic_id.is_none() || known.topic_id == lineage.topic_id;
        known.leader_epoch.filter(|known| is_same && lineage.leader_epoch.is_some_and(|now| now > *known))
    }

    /// Where the epoch that was [doubted](Self::doubted) ended in the log of the leader of now. `None`: it does not know, as
    /// where retention has taken all of it; then the history goes on.
    pub fn epoch_ended(&mut self, partition: &TopicPartition, end: Option<Offset>) {
        if let Some(ring) = self.rings.get_mut(partition) {
            ring.has_all = Some(end.is_none_or(|end| end >= ring.epoch_end));
        }
    }

    /// Puts older samples before what is there, as far as they belong to the same life of the partition. They may be those of
    /// several monitors, whose rounds overlap and whose clocks differ a little.
    ///
    /// Those that were known of a leader before the one of now say nothing: it may not have all that it had.
    pub fn restore(&mut self, partition: &TopicPartition, mut older: Vec<Remembered>) {
        let Some(ring) = self.rings.get_mut(partition) else { return };
        let Some(first) = ring.first() else { return };
        let now = ring.lineage.leader_epoch;
        older.retain(|it| it.sample.answered_ms <= first.asked_ms && it.leader_epoch == now);
        if older.is_empty() {
            return;
        }
        let older = older.into_iter().map(|it| it.sample);
        let samples = untangled(of_one_life(older.chain(ring.samples()).collect()));
        ring.samples.clear();
        ring.oldest = None;
        for sample in samples {
            ring.push(sample, self.samples_max);
        }
        let probes = std::mem::take(&mut ring.probes).into_vec();
        ring.probes = ring.first().map(|first| before(probes, first)).unwrap_or_default();
    }

    /// Keeps what the time index said, as far as it goes before the samples and agrees with them. If that was not all that it
    /// was asked, it may be asked again, and what it says of more times is kept then.
    pub fn climbed(&mut self, partition: &TopicPartition, mut probes: Vec<Probe>, is_whole: bool) {
        let Some(ring) = self.rings.get_mut(partition) else { return };
        let Some(first) = ring.first() else { return };
        probes.sort_by_key(|probe| (probe.time_ms, probe.offset));
        probes.dedup_by_key(|probe| probe.time_ms);
        let probes = before(probes, first);
        if probes.len() >= ring.probes.len() {
            ring.probes = probes;
        }
        ring.climbs = if is_whole { CLIMBS_MAX } else { ring.climbs.saturating_add(1) };
    }

    /// The wall's clock was set, and up to `unseen_ms` may have passed that the steady one knows nothing of: what was asked
    /// before may have been asked by so much earlier, and nothing more is proven than holds either way. Kafka's time index is
    /// to be asked again, by the right time.
    pub fn clock_was_set(&mut self, unseen_ms: i64) {
        self.rings.values_mut().for_each(|ring| ring.clock_was_set(unseen_ms));
    }

    /// Those of which this is not so.
    pub fn partitions_but(&self, is_so: impl Fn(&TopicPartition) -> bool) -> impl Iterator<Item = &TopicPartition> {
        self.rings.keys().filter(move |partition| !is_so(partition))
    }

    /// Forgets partitions that nobody is interested in any more.
    pub fn keep(&mut self, wanted: impl Fn(&TopicPartition) -> bool) {
        self.rings.retain(|partition, _| wanted(partition));
    }
}

/// What the time index said of the time before a sample.
fn before(mut probes: Vec<Probe>, first: Sample) -> Box<[Probe]> {
    probes.retain(|probe| probe.time_ms < first.asked_ms && probe.offset <= first.end_offset);
    probes.into()
}

/// Without what came before the end went back: that was another life. Ends of rounds that overlap, or that only a small
/// difference of two monitors' clocks puts after each other, have not gone back.
fn of_one_life(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_unstable_by_key(|it| (it.asked_ms, it.end_offset));
    let mut begin = 0;
    // The least end of those that were surely asked for later.
    let (mut least, mut later) = (Offset::MAX, samples.len());
    let mut by_answer: Vec<usize> = (0..samples.len()).collect();
    by_answer.sort_unstable_by_key(|at| samples[*at].answered_ms);
    for at in by_answer.into_iter().rev() {
        let surely = samples[at].answered_ms.saturating_add(CLOCKS_DIFFER_MS);
        while later > 0 && samples[later - 1].asked_ms > surely {
            later -= 1;
            least = least.min(samples[later].end_offset);
        }
        if least < samples[at].end_offset {
            begin = begin.max(at + 1);
        }
    }
    samples.split_off(begin)
}

/// In order by time and by end at once. That the end was at most so much when it was asked for is true of all greater ends,
/// too, and that it was as much when it was answered of all smaller ones; so each sample takes the narrowest times that
/// follow from all of them. Where two monitors' clocks contradict each other, it takes both times.
fn untangled(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_unstable_by_key(|it| (it.end_offset, it.asked_ms, it.answered_ms));
    let mut last_asked = i64::MIN;
    for sample in &mut samples {
        last_asked = last_asked.max(sample.asked_ms);
        sample.asked_ms = last_asked;
    }
    let mut first_answered = i64::MAX;
    for sample in samples.iter_mut().rev() {
        first_answered = first_answered.min(sample.answered_ms);
        let (asked_ms, answered_ms) = (sample.asked_ms, first_answered);
        (sample.asked_ms, sample.answered_ms) = (asked_ms.min(answered_ms), asked_ms.max(answered_ms));
    }
    samples
}

/// Drops every second sample of the older half: the newer half stays dense, and the older reaches twice as far.
fn thin(ring: &mut VecDeque<Packed>) {
    let older = ring.len() / 2;
    let mut index = 0;
    ring.retain(|_| {
        index += 1;
        index > older || index % 2 == 1
    });
}

#[cfg(test)]
mod tests {
    use super::super::estimate::estimate;
    use super::*;

    fn sample(at: i64, end_offset: Offset) -> Sample {
        Sample { asked_ms: at, answered_ms: at + 1, end_offset }
    }

    fn remembered(sample: Sample) -> Remembered {
        Remembered { sample, leader_epoch: None }
    }

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn ends(history: &History) -> Vec<(i64, Offset)> {
        let ring = history.of(&partition()).into_iter();
        ring.flat_map(Ring::samples).map(|it| (it.asked_ms, it.end_offset)).collect()
    }

    fn check(samples_max: usize, added: &[(i64, Offset)], want: &[(i64, Offset)], truncated: u64) {
        let mut history = History::new(samples_max);
        added.iter().for_each(|(at, end)| {
            history.add(&partition(), sample(*at, *end), Lineage::default());
        });
        assert_eq!(ends(&history), want, "{added:?}");
        assert_eq!(history.breaks, Breaks { recreated: 0, truncated }, "{added:?}");
    }

    #[test]
    fn rings() {
        check(9, &[(0, 5), (10, 7), (20, 7)], &[(0, 5), (10, 7), (20, 7)], 0);
        check(9, &[(0, 7), (10, 7), (20, 7), (30, 7), (40, 8)], &[(0, 7), (30, 7), (40, 8)], 0);
        check(9, &[(0, 7), (10, 9), (20, 3), (30, 4)], &[(20, 3), (30, 4)], 1);
        let six: Vec<_> = (0..6).map(|i| (i * 10, i)).collect();
        check(5, &six, &[(0, 0), (20, 2), (30, 3), (40, 4), (50, 5)], 0);
    }

    /// An hour that passed while nobody looked, or an hour by which the clock had been wrong: the proof holds in both.
    #[test]
    fn a_clock_that_was_set_leaves_open_what_it_hides() {
        let check = |unseen_ms: i64, position: Offset, want: (i64, Option<i64>)| {
            let mut history = History::new(9);
            for (at, end) in [(0, 5), (1_000, 7), (2_000, 9)] {
                history.add(&partition(), sample(at, end), Lineage::default());
            }
            history.climbed(&partition(), vec![Probe { time_ms: -5_000, offset: 1 }], true);
            history.clock_was_set(unseen_ms);
            history.add(&partition(), sample(3_000, 12), Lineage::default());
            let ring = history.of(&partition()).unwrap();
            let lag = estimate(ring, position, 3_001).unwrap();
            assert_eq!((lag.low_ms, lag.high_ms), want, "{unseen_ms} {position}");
            assert!(ring.lacks_probes(0), "the time index was asked by the wrong time");
            assert!(ring.produced_per_second(60_000).is_none_or(|rate| rate < 3.0), "{ring:?}");
        };
        check(0, 7, (1_000, Some(2_001)));
        check(3_600_000, 7, (1_000, Some(3_602_001)));
        check(3_600_000, 9, (0, Some(3_601_001)));
        // From 1970, as a board without a battery has it.
        check(i64::from(u32::MAX), 9, (0, None));
    }

    #[test]
    fn another_life_begins_another_history() {
        let check = |before: (Option<u128>, Option<i32>), after: (Option<u128>, Option<i32>), want: Option<Break>| {
            let lineage = |(id, leader_epoch): (Option<u128>, Option<i32>)| Lineage {
                topic_id: id.map(|id| crate::protocol::types::Uuid(id.to_be_bytes())),
                leader_epoch,
            };
            let mut history = History::new(9);
            assert_eq!(history.add(&partition(), sample(0, 5), lineage(before)), None);
            assert_eq!(history.add(&partition(), sample(10, 9), lineage(after)), want, "{before:?} {after:?}");
            assert_eq!(ends(&history).len(), if want.is_some() { 1 } else { 2 });
        };
        check((Some(1), Some(3)), (Some(1), Some(4)), None);
        check((Some(1), Some(3)), (None, None), None);
        check((None, None), (Some(1), Some(0)), None);
        check((Some(1), Some(3)), (Some(2), Some(0)), Some(Break::Recreated));
        check((None, Some(3)), (None, Some(2)), Some(Break::Truncated));
    }

    /// A log that was cut and has grown again since is told apart by where its epochs ended.
    #[test]
    fn a_new_leader_is_asked_what_it_has() {
        let check = |asked: &[Option<Option<Offset>>], want: &[Option<Break>]| {
            let (mut history, lineage) =
                (History::new(9), |epoch| Lineage { topic_id: None, leader_epoch: Some(epoch) });
            history.add(&partition(), sample(0, 1_000), lineage(3));
            let mut seen = Vec::new();
            for (at, said) in (1..).zip(asked) {
                let doubted = history.doubted(&partition(), lineage(5));
                if let Some(end) = said {
                    assert_eq!(doubted, Some(3), "{asked:?}");
                    history.epoch_ended(&partition(), *end);
                }
                seen.push(history.add(&partition(), sample(at * 10, 1_000 + at * 100), lineage(5)));
            }
            assert_eq!(seen, want, "{asked:?}");
            assert_eq!(history.doubted(&partition(), lineage(5)), asked.iter().all(Option::is_none).then_some(3));
        };
        check(&[Some(Some(1_000))], &[None]);
        check(&[Some(Some(1_050)), None], &[None, None]);
        check(&[Some(None)], &[None]);
        check(&[Some(Some(900)), None], &[Some(Break::Truncated), None]);
        // Not answered at first: what came since is not what the leader before had.
        check(&[None, None], &[None, None]);
        check(&[None, Some(Some(1_000))], &[None, None]);
        check(&[None, None, Some(Some(999))], &[None, None, Some(Break::Truncated)]);
    }

    #[test]
    fn a_ring_stays_bounded_and_keeps_reaching_back() {
        let mut history = History::new(120);
        (0..10_000).for_each(|i| {
            history.add(&partition(), sample(i * 10, i), Lineage::default());
        });
        let ends = ends(&history);
        assert!(ends.len() <= 120 && ends.first() == Some(&(0, 0)), "{} {:?}", ends.len(), ends.first());
        assert!(history.bytes() < 120 * 2 * 12 + 4_000, "{}", history.bytes());
    }

    const DAY: i64 = 24 * 3600 * 1000;
    const FAR: i64 = u32::MAX as i64;

    #[test]
    fn of_what_is_too_far_back_to_be_packed_the_newest_is_kept() {
        check(9, &[(0, 0), (40 * DAY, 7), (60 * DAY, 9)], &[(0, 0), (40 * DAY, 7), (60 * DAY, 9)], 0);
        check(9, &[(0, 0), (40 * DAY, 7), (95 * DAY, 9)], &[(40 * DAY, 7), (95 * DAY, 9)], 0);
        check(9, &[(0, 0), (10, FAR), (20, FAR + 1)], &[(0, 0), (10, FAR), (20, FAR + 1)], 0);
        check(9, &[(0, 5), (10, 3 * FAR), (20, 3 * FAR + 2)], &[(0, 5), (10, 3 * FAR), (20, 3 * FAR + 2)], 0);
        check(9, &[(0, 5), (90 * DAY, 6), (180 * DAY, 8)], &[(90 * DAY, 6), (180 * DAY, 8)], 0);
        check(9, &[(0, 5), (90 * DAY, 5), (180 * DAY, 5)], &[(0, 5), (180 * DAY, 5)], 0);
    }

    /// A reader that stands while nothing is produced gets older, however long that takes.
    #[test]
    fn forgetting_makes_nothing_younger() {
        let check = |produced: &[(i64, Offset)], position, least: &dyn Fn(i64) -> i64| {
            let mut history = History::new(9);
            for (day, end) in produced {
                history.add(&partition(), sample(day * DAY, *end), Lineage::default());
            }
            let (last_day, end) = *produced.last().expect("a sample");
            for day in last_day..400 {
                history.add(&partition(), sample(day * DAY, end), Lineage::default());
                let time = history.of(&partition()).and_then(|ring| estimate(ring, position, day * DAY));
                let low_ms = time.map(|time| time.low_ms).expect("an age");
                assert!(low_ms + 1 >= least(day), "{low_ms} on day {day} of {produced:?}");
            }
        };
        check(&[(0, 5)], 3, &|day| day * DAY);
        check(&[(0, 2), (1, 5)], 3, &|day| (day - 1) * DAY);
        // Of two that were forgotten the newer is kept, and it is as old as can be packed.
        check(&[(0, 4), (1, 5)], 3, &|day| (day * DAY).min(FAR));
        check(&[(0, 4), (1, 9 * FAR)], 3, &|day| (day * DAY).min(FAR));
    }

    #[test]
    fn what_a_store_remembers_goes_before_what_is_known() {
        let check = |older: &[(i64, Offset)], want: &[Offset]| {
            let mut history = History::new(9);
            history.add(&partition(), sample(100_000, 50), Lineage::default());
            let remembered = |(at, end): &(i64, Offset)| remembered(sample(*at, *end));
            history.restore(&partition(), older.iter().map(remembered).collect());
            let ends: Vec<_> = ends(&history).into_iter().map(|(_, end)| end).collect();
            assert_eq!((ends.as_slice(), history.breaks), (want, Breaks::default()), "{older:?}");
        };
        check(&[(20_000, 10), (10_000, 5), (100_000, 50), (200_000, 99)], &[5, 10, 50]);
        check(&[(10_000, 40), (20_000, 3), (30_000, 7)], &[3, 7, 50]);
        check(&[(5_000, 2), (10_000, 40), (20_000, 3), (30_000, 7)], &[3, 7, 50]);
        check(&[(10_000, 40), (20_000, 60)], &[50]);
        check(&[], &[50]);
    }

    /// Two nodes whose rounds overlap, and one of whose clocks is ahead: nothing is lost, and nothing is said that both do
    /// not agree on.
    #[test]
    fn samples_of_two_monitors_are_one_history() {
        let mut history = History::new(1_000);
        history.add(
            &partition(),
            Sample { asked_ms: 1_000_000, answered_ms: 1_000_010, end_offset: 10_000 },
            Lineage::default(),
        );
        let end = |at: i64| at / 100;
        let mut older = Vec::new();
        for round in 0..40 {
            let (asked_ms, answered_ms) = (round * 10_000, round * 10_000 + 300);
            older.push(Sample { asked_ms, answered_ms, end_offset: end(asked_ms + 250) });
            // The other's round is in the middle of this one, by a clock that is 200 ms ahead.
            older.push(Sample {
                asked_ms: asked_ms + 300,
                answered_ms: asked_ms + 500,
                end_offset: end(asked_ms + 200),
            });
        }
        history.restore(&partition(), older.into_iter().map(remembered).collect());
        let ring = history.of(&partition()).cloned().unwrap_or_default();
        assert_eq!(ring.len(), 81);
        assert!(ring.samples().is_sorted_by(|a, b| {
            a.asked_ms <= b.asked_ms && a.answered_ms <= b.answered_ms && a.end_offset <= b.end_offset
        }));
        for position in 3..3_900 {
            let age = 1_000_010 - position * 100;
            let time = estimate(&ring, position, 1_000_010).expect("a time");
            assert!(
                time.low_ms - 200 <= age && time.high_ms.is_some_and(|high| age <= high + 200),
                "{position}: {time:?}"
            );
            assert!(time.high_ms.is_some_and(|high| high - time.low_ms < 11_000), "{time:?}");
        }
    }

    #[test]
    fn probes_go_before_the_samples() {
        let probe = |time_ms, offset| Probe { time_ms, offset };
        let all = &[probe(90, 60), probe(70, 20), probe(100, 50), probe(10, 5)][..];
        let some = &[probe(71, 21)][..];
        // What each climb brought, and whether that was all of it; what is known then, and whether more can be.
        let check = |climbs: &[(&[Probe], bool)], known: &[Probe], lacks: bool| {
            let mut history = History::new(9);
            history.add(&partition(), sample(100, 50), Lineage::default());
            for (probes, is_whole) in climbs {
                history.climbed(&partition(), probes.to_vec(), *is_whole);
            }
            let ring = history.of(&partition()).expect("it has a sample");
            assert_eq!((ring.probes(), ring.lacks_probes(49)), (known, lacks), "{climbs:?}");
            assert!(!ring.lacks_probes(50), "the samples say it");
        };
        let known = [probe(10, 5), probe(70, 20)];
        check(&[], &[], true);
        check(&[(all, true)], &known, false);
        check(&[(some, false)], some, true);
        check(&[(some, false), (&[], false)], some, true);
        check(&[(some, false), (all, true)], &known, false);
        check(&[(&[], false), (some, false), (&[], false)], some, false);
    }

    #[test]
    fn rates() {
        let check = |added: &[(i64, Offset)], want: Option<f64>| {
            let mut history = History::new(9);
            for (at, end) in added {
                history.add(&partition(), sample(*at, *end), Lineage::default());
            }
            assert_eq!(history.of(&partition()).and_then(|it| it.produced_per_second(10_000)), want, "{added:?}");
        };
        check(&[(0, 5)], None);
        check(&[(0, 5), (2_000, 25)], Some(10.0));
        check(&[(0, 0), (90_000, 100), (95_000, 150)], Some(10.0));
        check(&[(0, 0), (50_000, 100)], Some(2.0));
        check(&[(0, 7), (1_000, 7)], Some(0.0));
    }
}
