//! `highwater cluster elect-leaders`: leaders back to where they belong, or anywhere at all.

use super::groups::partitions;
use super::session::{Account, Session};
use crate::app::{Failure, Status};
use crate::cli;
use crate::client::{Election, ErrorCode, TopicPartition};

pub(super) async fn elect_leaders(args: cli::ElectLeaders) -> Result<(), Failure> {
    let session = Session::open(&args.asking, "cluster").await?;
    let wanted = if args.all { every(&session).await? } else { partitions(&session, &args.topics).await? };
    let election = if args.unclean { Election::Unclean } else { Election::Preferred };
    let mut account = Account::default();
    for (of, outcome) in session.admin.elect_leaders(election, &wanted).await? {
        match outcome {
            Ok(()) => account.done(of, "elected"),
            Err(error) if error.code() == Some(ErrorCode::ELECTION_NOT_NEEDED) => account.done(of, "not needed"),
            Err(error) => account.failed(&of, Failure::new(Status::of(&error), &error)),
        }
    }
    account.settle(args.printing)
}

async fn every(session: &Session) -> Result<Vec<TopicPartition>, Failure> {
    let topics = session.admin.list_topics().await?;
    let of = topics.iter().flat_map(|(name, topic)| {
        topic.partitions.iter().map(|it| TopicPartition { topic: name.clone(), partition: it.partition })
    });
    Ok(of.collect())
}
