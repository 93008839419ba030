//! One list of what a client does, played on every broker through every door: the embedded broker, as itself and with the
//! versions of older and other ones, Kafka 3.9 and 4.3, a cluster of three nodes that loses some, and whatever else
//! `HIGHWATER_TEST_REDPANDA` (HOST:PORT) names. What holds where is kept in `src/docs/conformance.md`, and each run says when
//! that is no longer so.
//!
//! `HIGHWATER_BLESS=1` writes the file anew from the run; columns that were not run stay as they are.

mod admin;
mod cut;
mod faults;
mod groups;
mod positions;
mod records;
mod sites;
mod table;
mod world;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use highwater::client::{Error, ErrorKind};
use highwater::devbroker::Profile;
use protocol_tests::Outcome;
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Version, tell};
use tokio::time::timeout;

use self::sites::{DOORS, Site};
use self::table::{Cell, Table};
use self::world::{Scenario, World};

/// For one scenario, beside all the others of its door.
const LIMIT: Duration = Duration::from_secs(300);
/// For one that kills brokers and waits for each to be back, on a machine that may have other work.
const LIMIT_OF_BREAKING: Duration = Duration::from_secs(600);

/// All of them, in the order of the table.
fn scenarios() -> Vec<Scenario> {
    [records::SCENARIOS, groups::SCENARIOS, positions::SCENARIOS, admin::SCENARIOS, faults::SCENARIOS, cut::SCENARIOS]
        .concat()
}

/// What held, by scenario, and what did not.
type Played = (BTreeMap<&'static str, Cell>, Vec<String>);

/// Plays everything on one broker, the scenarios of a door at once; those that break something come after, one by one.
async fn play(site: &Site) -> Outcome<Played> {
    let mut cells: BTreeMap<&str, Cell> = scenarios().iter().map(|it| (it.name, Cell::default())).collect();
    let mut failed = Vec::new();
    for door in DOORS.into_iter().filter(|door| site.has(*door)) {
        let world = World::enter(site, door).await?;
        let (breaking, peaceful): (Vec<_>, Vec<_>) =
            scenarios().into_iter().filter(|it| it.applies(site)).partition(|it| it.breaks_brokers);
        let mut outcomes = join_all(peaceful.into_iter().map(|it| one(it, &world))).await;
        for scenario in breaking {
            outcomes.push(one(scenario, &world).await);
        }
        for (name, outcome) in outcomes {
            match outcome {
                Ok(()) => cells.entry(name).or_default().holds(door),
                // As the table has it, or that is not what was seen.
                Err(error) if is_not_offered(&*error) => tell(&format!("{}: {name}: {error}", site.name)),
                Err(error) => failed.push(format!("{name}, on {} by {}: {error}", site.name, door.name())),
            }
        }
        world.client.close().await;
    }
    Ok((cells, failed))
}

/// Whether the client said that the cluster does not have what the scenario asks for.
fn is_not_offered(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<Error>().is_some_and(|error| matches!(error.kind, ErrorKind::Unsupported))
}

async fn one(scenario: Scenario, world: &World) -> (&'static str, Outcome<()>) {
    // Each assertion that fails is told, beside those of the others.
    let limit = if scenario.breaks_brokers { LIMIT_OF_BREAKING } else { LIMIT };
    let played = timeout(limit, AssertUnwindSafe((scenario.play)(world.clone())).catch_unwind()).await;
    let outcome = match played {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err("an assertion above".into()),
        Err(_) => Err(format!("not within {limit:?}").into()),
    };
    (scenario.name, outcome)
}

/// Plays, and compares what held with what the table says. A cluster that is not ours, and of which it says nothing yet, is held
/// to nothing but the scenarios themselves.
fn check(site: &Site) {
    protocol_tests::finish(async {
        let (cells, failed) = play(site).await?;
        let held = cells.values().filter(|cell| !cell.is_empty()).count();
        tell(&format!("{}: {held} scenarios hold, {} do not", site.name, failed.len()));
        if !failed.is_empty() {
            return Err(failed.join("\n").into());
        }
        let mut table = Table::read()?;
        let told = table.column(&site.name);
        if told == cells {
            return Ok(());
        }
        if std::env::var("HIGHWATER_BLESS").is_ok_and(|value| value == "1") {
            table.set(&site.name, cells);
            return table.write(&scenarios());
        }
        if !site.is_ours() && told.values().all(Cell::is_empty) {
            tell(&format!("{} has no column in src/docs/conformance.md yet; HIGHWATER_BLESS=1 writes it", site.name));
            return Ok(());
        }
        Outcome::Err(
            format!("src/docs/conformance.md is not what was seen on {}; HIGHWATER_BLESS=1 writes it anew", site.name)
                .into(),
        )
    });
}

#[test]
fn embedded_broker() {
    let _alone = servers::one_at_a_time();
    check(&Site::embedded("embedded", Profile::default()));
}

/// What a client falls back to does the same work.
fn on_embedded_as(name: &str, profile: Profile) {
    let _alone = servers::one_at_a_time();
    check(&Site::embedded(name, profile));
}

#[test]
fn embedded_broker_as_kafka_3_9() {
    on_embedded_as("as Kafka 3.9", Profile::Kafka39);
}

#[test]
fn embedded_broker_as_kafka_2_8() {
    on_embedded_as("as Kafka 2.8", Profile::Kafka28);
}

#[test]
fn embedded_broker_as_redpanda_24() {
    on_embedded_as("as Redpanda 24", Profile::Redpanda24);
}

#[test]
fn embedded_broker_as_redpanda_25() {
    on_embedded_as("as Redpanda 25", Profile::Redpanda25);
}

fn on_kafka(test: &str, version: Version, nodes: usize) {
    let _alone = servers::one_at_a_time();
    if let Some(site) = servers::or_skip(test, Site::of_kafka(version, nodes)) {
        check(&site);
    }
}

#[test]
fn kafka_3_9() {
    on_kafka("conformance on Kafka 3.9", KAFKA_39, 1);
}

#[test]
fn kafka_4_3() {
    on_kafka("conformance on Kafka 4.3", KAFKA_43, 1);
}

#[test]
fn kafka_4_3_of_three_nodes() {
    on_kafka("conformance on three nodes of Kafka 4.3", KAFKA_43, 3);
}

#[test]
fn another_cluster() {
    let _alone = servers::one_at_a_time();
    match Site::named("HIGHWATER_TEST_REDPANDA") {
        Some(site) => check(&site),
        None => tell("SKIPPED conformance on Redpanda: HIGHWATER_TEST_REDPANDA names none"),
    }
}

#[test]
fn the_table_lists_what_is_played() {
    protocol_tests::finish(async {
        let table = Table::read()?;
        let (listed, played) = (table.rows(), scenarios().iter().map(|it| it.name).collect::<Vec<_>>());
        assert_eq!(listed, played, "HIGHWATER_BLESS=1 writes src/docs/conformance.md anew");
        assert_eq!(table.columns, table::COLUMNS, "HIGHWATER_BLESS=1 writes src/docs/conformance.md anew");
        Outcome::Ok(())
    });
}
