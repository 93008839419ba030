//! `highwater topics delete-records`: partitions that begin later.

use serde::Serialize;

use super::consume::ranges;
use super::groups::partitions;
use super::output::{self, Row};
use super::session::{Session, all};
use crate::app::{Failure, Status};
use crate::cli;
use crate::client::{DeleteBefore, Offset, TopicPartition};

#[derive(Debug, Serialize)]
struct Begins {
    topic: String,
    partition: i32,
    start: Offset,
}

impl Row for Begins {
    const HEAD: &'static [&'static str] = &["TOPIC", "PARTITION", "START"];

    fn cells(&self) -> Vec<String> {
        vec![self.topic.clone(), self.partition.to_string(), self.start.to_string()]
    }
}

impl Begins {
    fn at(of: &TopicPartition, start: Offset) -> Self {
        Self { topic: of.topic.to_string(), partition: of.partition, start }
    }
}

pub(super) async fn delete_records(args: cli::DeleteRecords) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "topics").await?;
    let named = partitions(&session, &args.topics).await?;
    let places = ranges(&session, &named, args.before, None).await?;
    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    if args.dry_run {
        rows.extend(places.iter().map(|(of, place)| Begins::at(of, place.from)));
    } else {
        // Not simply all there is: what is written meanwhile was not meant.
        let before: Vec<_> = places.into_iter().map(|(of, place)| (of, DeleteBefore::Offset(place.from))).collect();
        for (of, outcome) in session.admin.delete_records(&before).await? {
            match outcome {
                Ok(start) => rows.push(Begins::at(&of, start)),
                Err(error) => failures.push(Failure::new(Status::of(&error), error)),
            }
        }
    }
    if !rows.is_empty() || failures.is_empty() {
        output::print(&output::rows(args.printing.output, &rows)?)?;
    }
    if args.dry_run {
        eprintln!("highwater: nothing was deleted");
    }
    all(failures)
}
