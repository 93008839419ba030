//! The table in `src/docs/conformance.md`: a row for each scenario, a column for each broker, and in the cells the doors
//! through which it was seen to hold.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::sites::{DOORS, Door};
use crate::world::Scenario;
use protocol_tests::Outcome;

pub const COLUMNS: [&str; 9] = [
    "Kafka 3.9.1",
    "Kafka 4.3.0",
    "Kafka 4.3.0, 3 nodes",
    "Redpanda",
    "embedded",
    "as Kafka 3.9",
    "as Kafka 2.8",
    "as Redpanda 24",
    "as Redpanda 25",
];

const HEAD: &str = "\
# What holds on which broker

## Other people's clients

librdkafka, kafka-python, aiokafka, Java's clients and console tools, and franz-go play the same scenarios (`protocol-tests/foreign`)
on Kafka 3.9.1, on Kafka 4.3.0 and on the embedded broker: `protocol-tests/servers/conformance.sh -p protocol-tests --test foreign`.
There, too, each of them and our own client writes records of every kind with every codec, and transactions of which one is
aborted; and each reads what each has written. One group of the consumer protocol has members of ours, Java's and librdkafka's,
and one cooperative-sticky group has franz-go's as well (`--test consumer_groups`): every record is read once.
franz-go is left out, and that is said, where Go is not installed.

## Our client

Every row is a scenario of `protocol-tests/tests/conformance`, played against each broker through each of its listeners.
\"all\" says that it was seen to hold through PLAINTEXT, SSL (with a client certificate) and SASL_SSL (SCRAM-SHA-512); a
dash that it was not played there, or that the broker does not offer it. The last columns are the embedded broker that speaks no
more than the versions of an older broker, or of another one: what our client falls back to, not proof of what that broker does.
The table is written from a run:

    HIGHWATER_BLESS=1 protocol-tests/servers/conformance.sh -p protocol-tests --test conformance

and every run of that test fails where it sees something else. `HIGHWATER_TEST_REDPANDA=HOST:PORT` plays the list on a
Redpanda, or on any other cluster.

";

/// The doors by which a scenario holds; none if it was not played.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell(Vec<Door>);

impl Cell {
    pub fn holds(&mut self, door: Door) {
        self.0.push(door);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn write(&self) -> String {
        match self.0.len() {
            0 => "–".to_owned(),
            count if count == DOORS.len() => "all".to_owned(),
            _ => self.0.iter().map(|door| door.name()).collect::<Vec<_>>().join(" "),
        }
    }

    fn read(text: &str) -> Self {
        let has = |door: &Door| text == "all" || text.split(' ').any(|word| word == door.name());
        Self(DOORS.into_iter().filter(has).collect())
    }
}

/// Cells by column and row.
#[derive(Debug, Default)]
pub struct Table {
    /// As the file has them.
    pub columns: Vec<String>,
    rows: Vec<String>,
    cells: BTreeMap<(String, String), Cell>,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../src/docs/conformance.md")
}

impl Table {
    pub fn read() -> Outcome<Self> {
        let text = match std::fs::read_to_string(file()) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let mut table = Self::default();
        let mut lines = text.lines().filter(|line| line.starts_with('|')).map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
            (cells.next().unwrap_or_default(), cells.collect::<Vec<_>>())
        });
        table.columns = lines.next().map(|(_, columns)| columns).unwrap_or_default();
        // Below the names there is a rule.
        for (row, cells) in lines.skip(1) {
            let cells = table.columns.iter().zip(cells);
            table.cells.extend(cells.map(|(column, cell)| ((column.clone(), row.clone()), Cell::read(&cell))));
            table.rows.push(row);
        }
        Ok(table)
    }

    pub fn rows(&self) -> Vec<&str> {
        self.rows.iter().map(String::as_str).collect()
    }

    pub fn column(&self, name: &str) -> BTreeMap<&str, Cell> {
        let cells = self.cells.iter().filter(|((column, _), _)| column == name);
        cells.map(|((_, row), cell)| (row.as_str(), cell.clone())).collect()
    }

    pub fn set(&mut self, name: &str, cells: BTreeMap<&str, Cell>) {
        self.cells.extend(cells.into_iter().map(|(row, cell)| ((name.to_owned(), row.to_owned()), cell)));
    }

    pub fn write(&self, scenarios: &[Scenario]) -> Outcome<()> {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = HEAD.to_owned();
        text += &line([""].iter().chain(&COLUMNS).map(ToString::to_string).collect());
        text += &format!("|{}\n", "---|".repeat(COLUMNS.len() + 1));
        for scenario in scenarios {
            let cell = |column: &&str| self.cells.get(&((*column).to_owned(), scenario.name.to_owned())).cloned();
            let cells = COLUMNS.iter().map(|column| cell(column).unwrap_or_default().write());
            text += &line([scenario.name.to_owned()].into_iter().chain(cells).collect());
        }
        Ok(std::fs::write(file(), text)?)
    }
}
