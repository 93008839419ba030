//! Answers as tables for people and as JSON for programs, and the way out to whoever reads them.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde::Serialize;

use crate::app::{Failure, Status};
use crate::cli::Output;

/// One line of an answer.
pub(super) trait Row: Serialize {
    const HEAD: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

/// All lines of an answer: a table with a head, or a JSON array.
pub(super) fn rows<R: Row>(output: Output, rows: &[R]) -> Result<String, Failure> {
    match output {
        Output::Table => Ok(table(R::HEAD, &rows.iter().map(Row::cells).collect::<Vec<_>>())),
        Output::Json => json(&rows),
    }
}

pub(super) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = serde_json::to_string_pretty(value).map_err(Failure::of(Status::Software))?;
    text.push('\n');
    Ok(text)
}

/// Columns as wide as they must be, two spaces apart; numbers to the right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let all = |column: usize| rows.iter().filter_map(move |row| row.get(column).map(String::as_str));
    let columns: Vec<(usize, bool)> = head
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let width = all(at).chain([*name]).map(|cell| cell.chars().count()).max().unwrap_or_default();
            (width, all(at).any(is_number) && all(at).all(|cell| cell == NONE || is_number(cell)))
        })
        .collect();
    let mut text = line(head, &columns);
    for row in rows {
        text += &line(&row.iter().map(String::as_str).collect::<Vec<_>>(), &columns);
    }
    text
}

/// What stands where there is nothing to say; never a 0.
pub(super) const NONE: &str = "-";

/// A cell of what may be unknown.
pub(super) fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), |it| it.to_string())
}

/// `1,2,3`
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    match items {
        [] => NONE.to_owned(),
        _ => items.iter().map(T::to_string).collect::<Vec<_>>().join(","),
    }
}

fn is_number(cell: &str) -> bool {
    cell.parse::<f64>().is_ok()
}

fn line(cells: &[&str], columns: &[(usize, bool)]) -> String {
    let mut text = String::new();
    for (cell, (width, to_the_right)) in cells.iter().zip(columns) {
        // Writing to a String does not fail.
        let _ = match to_the_right {
            true => write!(text, "{cell:>width$}  "),
            false => write!(text, "{cell:<width$}  "),
        };
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// To standard output. A reader that has gone ends the program, quietly.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| not_printed(&error))
}

/// Why something could not be printed.
pub(super) fn not_printed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Status::BrokenPipe, "nobody reads the output"),
        _ => Failure::new(Status::Os, format!("the output cannot be written: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Fruit(&'static str, Option<u32>);

    impl Row for Fruit {
        const HEAD: &'static [&'static str] = &["FRUIT", "COUNT", "WHERE"];
        fn cells(&self) -> Vec<String> {
            vec![self.0.to_owned(), or_none(self.1), list::<i32>(&[])]
        }
    }

    #[test]
    fn tables_line_up() {
        let fruits = [Fruit("fig", Some(5)), Fruit("pomegranate", Some(12)), Fruit("kiwi", None)];
        let want = "FRUIT        COUNT  WHERE\nfig              5  -\npomegranate     12  -\nkiwi             -  -\n";
        assert_eq!(rows(Output::Table, &fruits).unwrap(), want);
        assert_eq!(rows::<Fruit>(Output::Table, &[]).unwrap(), "FRUIT  COUNT  WHERE\n");
    }

    #[test]
    fn json_is_an_array_of_lines() {
        let text = rows(Output::Json, &[Fruit("fig", Some(5)), Fruit("kiwi", None)]).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, serde_json::json!([["fig", 5], ["kiwi", null]]));
        assert_eq!(rows::<Fruit>(Output::Json, &[]).unwrap(), "[]\n");
    }
}
