//! The data directory: a lock against a second broker, the metadata journal, and one directory for each partition.
//!
//! ```text
//! D/lock                                      held while a broker runs on D
//! D/metadata.journal                          see `journal`
//! D/topics/<topic>-<partition>/<offset>.log   see `log`
//! ```
//!
//! A partition's directory that the journal does not know (a topic deleted just before a crash) is renamed to end in
//! `.stray`, never read and never deleted.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use super::journal::{Entry, Journal};
use super::log::Log;

/// An open data directory.
#[derive(Debug)]
pub struct Storage {
    topics: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
    pub journal: Journal,
}

impl Storage {
    /// Opens a data directory, or makes one, and hands over all that its journal says.
    pub fn open(directory: &Path) -> Result<(Storage, Vec<Entry>), Error> {
        let failed = |source| Error::Directory { path: directory.to_owned(), source };
        let topics = directory.join("topics");
        std::fs::create_dir_all(&topics).map_err(failed)?;
        let lock = lock(directory)?;
        let (journal, entries) = Journal::open(directory).map_err(failed)?;
        Ok((Storage { topics, _lock: lock, journal }, entries))
    }

    pub fn partition_directory(&self, topic: &str, partition: usize) -> PathBuf {
        self.topics.join(format!("{topic}-{partition}"))
    }

    /// An empty log in a directory of its own. What lies there already belongs to a topic that is gone.
    pub fn create_log(&self, topic: &str, partition: usize) -> io::Result<Log> {
        let directory = self.partition_directory(topic, partition);
        if directory.exists() {
            put_aside(&directory)?;
        }
        std::fs::create_dir(&directory)?;
        File::open(&self.topics)?.sync_all()?;
        Ok(Log::in_directory(directory))
    }

    /// Puts aside every directory that is not one of `known`.
    pub fn put_strays_aside(&self, known: impl Fn(&Path) -> bool) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.topics)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "stray") && !known(&path) {
                put_aside(&path)?;
            }
        }
        Ok(())
    }
}

fn lock(directory: &Path) -> Result<File, Error> {
    let failed = |source| Error::Directory { path: directory.to_owned(), source };
    let path = directory.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn put_aside(directory: &Path) -> io::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (0..).map(|n| directory.with_file_name(format!("{name}.{n}.stray"))).find(|path| !path.exists());
    let aside = free.unwrap_or_else(|| directory.with_extension("stray"));
    tracing::warn!(from = %directory.display(), to = %aside.display(), "unknown partition directory put aside");
    std::fs::rename(directory, aside)
}
