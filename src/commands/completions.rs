//! `highwater completions` and `highwater man`: what the command line says of itself, for shells and for man.

use std::fs;

use clap::CommandFactory;

use super::output;
use crate::app::{Failure, Status};
use crate::cli::{self, Cli};

pub fn completions(args: &cli::Completions) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "highwater", &mut text);
    output::print(&String::from_utf8_lossy(&text))
}

/// The page of the program to standard output, or a page for each verb into a directory.
pub fn man(args: &cli::Man) -> Result<(), Failure> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(Failure::of(Status::Software))?;
        return output::print(&String::from_utf8_lossy(&page));
    };
    let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    written.map_err(|error| {
        Failure::new(Status::CannotCreate, format!("the pages cannot be written to {}: {error}", dir.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        man(&cli::Man { dir: Some(dir.path().to_owned()) }).unwrap();
        for page in ["highwater", "highwater-topics-create", "highwater-groups-reset", "highwater-consume"] {
            let text = fs::read_to_string(dir.path().join(format!("{page}.1"))).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
        }
    }
}
