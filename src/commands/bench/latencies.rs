//! Latencies in whole milliseconds, and the lines that kafka-producer-perf-test makes of them. Pure.

use std::time::Duration;

use super::MEGABYTE;

/// Latencies up to a minute are counted one by one; longer ones as a minute, but for the greatest.
const COUNTED_MAX_MS: usize = 60_000;

/// What was sent in some time, and how long each record took.
#[derive(Debug, Clone)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    records: u64,
    bytes: u64,
    total_ms: f64,
    max_ms: f64,
}

impl Latencies {
    pub fn new() -> Self {
        Self { counts: vec![0; COUNTED_MAX_MS + 1], records: 0, bytes: 0, total_ms: 0.0, max_ms: 0.0 }
    }

    pub fn add(&mut self, latency: Duration, bytes: usize) {
        // As the tool has it, which reads a clock of milliseconds.
        let ms = latency.as_millis() as f64;
        let at = usize::try_from(latency.as_millis()).unwrap_or(COUNTED_MAX_MS).min(COUNTED_MAX_MS);
        self.counts[at] += 1;
        self.records += 1;
        self.bytes += bytes as u64;
        self.total_ms += ms;
        self.max_ms = self.max_ms.max(ms);
    }

    /// The latency that the part `share` of the records does not exceed.
    fn percentile(&self, share: f64) -> usize {
        let rank = (self.records as f64 * share) as u64;
        let mut seen = 0;
        for (ms, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen > rank {
                return ms;
            }
        }
        self.max_ms as usize
    }

    fn rates(&self, elapsed: Duration) -> (f64, f64, f64) {
        let seconds = elapsed.as_secs_f64().max(f64::EPSILON);
        let average = if self.records == 0 { 0.0 } else { self.total_ms / self.records as f64 };
        (self.records as f64 / seconds, self.bytes as f64 / seconds / MEGABYTE, average)
    }

    /// A line of the way.
    pub fn window(&self, elapsed: Duration) -> String {
        let (rate, megabytes, average) = self.rates(elapsed);
        let Self { records, max_ms, .. } = self;
        format!(
            "{records} records sent, {rate:.1} records/sec ({megabytes:.2} MB/sec), {average:.1} ms avg latency, {max_ms:.1} ms max latency.\n"
        )
    }

    /// The line of the end.
    pub fn total(&self, elapsed: Duration) -> String {
        let (rate, megabytes, average) = self.rates(elapsed);
        let Self { records, max_ms, .. } = self;
        let [p50, p95, p99, p999] = [0.5, 0.95, 0.99, 0.999].map(|share| self.percentile(share));
        format!(
            "{records} records sent, {rate:.6} records/sec ({megabytes:.2} MB/sec), {average:.2} ms avg latency, {max_ms:.2} ms max latency, {p50} ms 50th, {p95} ms 95th, {p99} ms 99th, {p999} ms 99.9th.\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_kafkas_tool_writes_them() {
        let mut latencies = Latencies::new();
        for ms in 1..=1000 {
            latencies.add(Duration::from_millis(ms), 1024);
        }
        let elapsed = Duration::from_secs(2);
        assert_eq!(
            latencies.window(elapsed),
            "1000 records sent, 500.0 records/sec (0.49 MB/sec), 500.5 ms avg latency, 1000.0 ms max latency.\n"
        );
        assert_eq!(
            latencies.total(elapsed),
            "1000 records sent, 500.000000 records/sec (0.49 MB/sec), 500.50 ms avg latency, 1000.00 ms max latency, 501 ms 50th, 951 ms 95th, 991 ms 99th, 1000 ms 99.9th.\n"
        );
        latencies.add(Duration::from_secs(100), 0);
        assert!(latencies.total(elapsed).contains("100000.00 ms max latency"));
        assert!(
            Latencies::new().total(Duration::ZERO).starts_with("0 records sent, 0.000000 records/sec (0.00 MB/sec)")
        );
    }
}
