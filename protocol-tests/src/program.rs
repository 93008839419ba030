//! Our program as a process, started and stopped the way a user would.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::wait_until;

/// `target/debug` or `target/release`: where this test was built.
pub fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_else(|error| panic!("where am I: {error}"));
    let directory = test.ancestors().nth(2).map(Path::to_path_buf);
    directory.unwrap_or_else(|| panic!("{} is not in a target directory", test.display()))
}

/// The program: the one that `HIGHWATER_BIN` names, or this workspace's, built as this test was. It is built by the command
/// that a user would type: of other packages' features, none may slip in.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("HIGHWATER_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let directory = profile_directory();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bin", "highwater"]).current_dir(crate::servers::here(".."));
    if directory.ends_with("release") {
        command.arg("--release");
    }
    if let Some(target) = directory.parent() {
        command.env("CARGO_TARGET_DIR", target);
    }
    let status = command.status();
    assert!(status.as_ref().is_ok_and(ExitStatus::success), "{command:?}: {status:?}");
    directory.join("highwater")
}

/// A process, killed when dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our program at work.
#[derive(Debug)]
pub struct Program {
    process: Running,
    log: PathBuf,
}

impl Program {
    /// Starts it with these arguments; what it prints goes to a file in `directory`.
    pub fn start(directory: &Path, arguments: &[&str]) -> Program {
        let log = directory.join("highwater.log");
        let file = || {
            File::options()
                .create(true)
                .append(true)
                .open(&log)
                .unwrap_or_else(|error| panic!("{}: {error}", log.display()))
        };
        let mut command = Command::new(binary());
        command.args(arguments).stdin(Stdio::null()).stdout(file()).stderr(file());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Program { process: Running(child), log }
    }

    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// What it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Fails with what it printed when it has ended by itself.
    pub fn check_running(&mut self) {
        if let Ok(Some(status)) = self.process.0.try_wait() {
            panic!("the program ended by itself, {status}:\n{}", self.log());
        }
    }

    /// Where a lag monitor is asked, once it says so.
    pub fn address(&mut self, within: Duration) -> String {
        wait_until("the monitor says where it listens", within, || {
            self.check_running();
            Some(self.log().split_once("lag        http://")?.1.split_once('/')?.0.to_owned())
        })
    }

    /// SIGTERM, and then what it makes of it.
    pub fn terminate(&mut self, within: Duration) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        assert!(sent.as_ref().is_ok_and(ExitStatus::success), "kill -TERM: {sent:?}");
        self.wait(within)
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        wait_until("the program ends", within, || self.process.0.try_wait().unwrap_or_default())
    }
}
