//! `highwater bench consume`.

use std::time::{Duration, Instant};

use jiff::Zoned;
use tokio::time::timeout;

use super::MEGABYTE;
use crate::app::{Failure, Status, stop_on_signal};
use crate::cli;
use crate::client::{Consumer, ConsumerConfig, Error, ErrorCode, OffsetReset, Topic};
use crate::commands::output;
use crate::commands::properties;
use crate::commands::session::Session;

const HEAD: &str = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, \
                    rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n";
/// How long leaving the group may take.
const GRACE: Duration = Duration::from_secs(10);

pub(super) async fn consume(args: cli::BenchConsume) -> Result<(), Failure> {
    properties::no_group(&args.asking, args.group.as_deref())?;
    let stop = stop_on_signal()?;
    let session = Session::open(&args.asking, "bench").await?;
    let topic = Topic::from(args.topic.as_str());
    if session.client.partition_count(&topic).await?.is_none() {
        return Err(session.about_topic(&topic, &Error::from(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)).await);
    }
    // A name that nobody has had: the group goes with its run.
    let made = args.group.is_none().then(|| format!("perf-consumer-{:016x}", rand::random::<u64>()));
    let group_id = args.group.clone().or_else(|| made.clone()).unwrap_or_default();
    let mut config = ConsumerConfig { group_id, topics: vec![topic], ..session.settings.consumer_as(&args.membership) };
    if args.from_latest {
        config.auto_offset_reset = OffsetReset::Latest;
    }
    let (begun, begun_at) = (Instant::now(), Zoned::now());
    let mut consumer = session.client.consumer(config)?;
    let mut read = Read::default();
    let outcome = stop.run_until_cancelled(read.all(&mut consumer, &args, begun)).await.unwrap_or(Ok(()));
    read.elapsed = begun.elapsed();
    let ended_at = Zoned::now();
    let closed = consumer.close(GRACE).await;
    let head = if args.hide_header { "" } else { HEAD };
    let printed = output::print(&format!("{head}{}", read.line(&time(&begun_at), &time(&ended_at))));
    if let Some(group) = made {
        remove(&session, group).await;
    }
    session.client.close().await;
    printed?;
    outcome?;
    Ok(closed?)
}

/// A group that was made for this run alone is not left to the cluster; what was measured does not hang on that.
async fn remove(session: &Session, group: String) {
    let removed = session.admin.delete_groups(std::slice::from_ref(&group)).await;
    let error = match removed.map(|mut removed| removed.pop()) {
        Ok(Some((_, Err(error)))) | Err(error) => error,
        Ok(_) => return,
    };
    // One that has committed nothing may be gone with its last member.
    if error.code() != Some(ErrorCode::GROUP_ID_NOT_FOUND) {
        eprintln!("highwater: the group {group} is left behind: {error}");
    }
}

/// As Kafka's tool prints it, in the zone of the machine.
fn time(at: &Zoned) -> String {
    format!("{}:{:03}", at.strftime("%Y-%m-%d %H:%M:%S"), at.millisecond())
}

/// What was read.
#[derive(Debug, Default)]
struct Read {
    records: u64,
    bytes: u64,
    elapsed: Duration,
    /// Until the group had dealt out partitions.
    joining: Duration,
}

impl Read {
    async fn all(&mut self, consumer: &mut Consumer, args: &cli::BenchConsume, begun: Instant) -> Result<(), Failure> {
        while self.records < args.num_records {
            let delivery = match timeout(args.timeout, consumer.next()).await {
                Ok(Some(Ok(delivery))) => delivery,
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => break,
                Err(_) => {
                    let message =
                        format!("no record for {:?}; {} of {} have come", args.timeout, self.records, args.num_records);
                    return Err(Failure::new(Status::Unavailable, message));
                }
            };
            if self.joining.is_zero() {
                self.joining = begun.elapsed();
            }
            for record in delivery.records() {
                self.bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64;
            }
            self.records += delivery.len() as u64;
            delivery.finish();
        }
        Ok(())
    }

    /// A line of the table.
    fn line(&self, begun: &str, ended: &str) -> String {
        let rate = |amount: f64, time: Duration| amount / time.as_secs_f64().max(f64::EPSILON);
        let (megabytes, records) = (self.bytes as f64 / MEGABYTE, self.records as f64);
        let fetching = self.elapsed.saturating_sub(self.joining);
        format!(
            "{begun}, {ended}, {megabytes:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}\n",
            rate(megabytes, self.elapsed),
            self.records,
            rate(records, self.elapsed),
            self.joining.as_millis(),
            fetching.as_millis(),
            rate(megabytes, fetching),
            rate(records, fetching),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_field_for_each_name() {
        let read = Read {
            records: 1_000,
            bytes: 1 << 20,
            elapsed: Duration::from_millis(2_500),
            joining: Duration::from_millis(500),
        };
        let line = read.line("a", "b");
        assert_eq!(line, "a, b, 1.0000, 0.4000, 1000, 400.0000, 500, 2000, 0.5000, 500.0000\n");
        assert_eq!(line.split(", ").count(), HEAD.split(", ").count());
    }
}
