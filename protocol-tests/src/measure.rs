//! What the benchmarks share: settings from the environment, and what the process has cost so far.

use std::fmt::Display;
use std::str::FromStr;

use crate::Outcome;

/// A setting from the environment.
pub fn setting<T: FromStr<Err: Display>>(name: &str, default: T) -> Outcome<T> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| format!("{name}={text}: {error}").into()),
        Err(_) => Ok(default),
    }
}

/// Has another client do the same, where `FRANZ_GO` names its program (`foreign/go/build.sh` prints it), and says what it said.
/// One that fails is nothing to be compared with.
pub fn compare(args: &[&str]) -> Outcome<()> {
    let Ok(program) = std::env::var("FRANZ_GO") else { return Ok(()) };
    let said = std::process::Command::new(program).args(args).output()?;
    let (printed, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    if !said.status.success() {
        return Err(format!("franz-go {args:?}: {}: {printed}{errors}", said.status).into());
    }
    print!("franz-go   {printed}{errors}");
    Ok(())
}

/// User and system time of this process, in the kernel's hundredths.
pub fn cpu_seconds() -> Outcome<f64> {
    cpu_seconds_in("self")
}

/// The same of another process.
pub fn cpu_seconds_of(process: u32) -> Outcome<f64> {
    cpu_seconds_in(&process.to_string())
}

fn cpu_seconds_in(process: &str) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?.1;
    let ticks = after_name.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// The most memory that this process has held, in kB.
pub fn peak_rss_kb() -> Outcome<u64> {
    peak_rss_kb_in("self")
}

/// The same of another process.
pub fn peak_rss_kb_of(process: u32) -> Outcome<u64> {
    peak_rss_kb_in(&process.to_string())
}

fn peak_rss_kb_in(process: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM in /proc/PID/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
