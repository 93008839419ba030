//! The live table, in a terminal as somebody has it before them: as many rows as there is place for, none that runs over the
//! edge, and what is new in the place of what was there.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::client::{NewOffset, NewTopic, ProducerConfig, ProducerRecord, Topic, TopicPartition};
use highwater::devbroker::{Config, DevBroker};
use protocol_tests::program::{Running, binary};
use protocol_tests::{Outcome, connect, make_topics, wait_until};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const WITHIN: Duration = Duration::from_secs(60);
/// Home, and everything below it away.
const CLEAR: &str = "\x1b[H\x1b[J";
const PARTITIONS: i32 = 40;

/// Both ends of a terminal.
struct Terminal {
    ours: OwnedFd,
    theirs: File,
}

impl Terminal {
    fn new() -> Outcome<Terminal> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?.into_string()?;
        let theirs = File::options().read(true).write(true).custom_flags(OFlags::NOCTTY.bits() as i32).open(name)?;
        Ok(Terminal { ours, theirs })
    }

    fn resize(&self, lines: u16, columns: u16) -> Outcome<()> {
        Ok(tcsetwinsize(&self.ours, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
    }

    /// All that is printed to it from now on.
    fn printed(&self) -> Outcome<Arc<Mutex<Vec<u8>>>> {
        let (mut from, printed) = (File::from(self.ours.try_clone()?), Arc::<Mutex<Vec<u8>>>::default());
        let all = Arc::clone(&printed);
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // A terminal that nobody writes to any more fails.
            while let Ok(read @ 1..) = from.read(&mut piece) {
                all.lock().expect("nobody panics here").extend_from_slice(&piece[..read]);
            }
        });
        Ok(printed)
    }
}

/// The last screen that is whole, line by line.
fn screen(printed: &Mutex<Vec<u8>>) -> Vec<String> {
    let printed = String::from_utf8_lossy(&printed.lock().expect("nobody panics here")).into_owned();
    let screens: Vec<&str> = printed.split(CLEAR).skip(1).collect();
    let whole = screens.len().checked_sub(2).and_then(|at| screens.get(at));
    whole.map(|text| text.lines().map(str::to_owned).collect()).unwrap_or_default()
}

/// Writes so many records to the last partition, which is so far behind then.
async fn produce(bootstrap: &str, records: usize) -> Outcome<()> {
    let (client, topic) = (connect(bootstrap).await?, Topic::from("watched"));
    let producer = client.producer(ProducerConfig::default())?;
    for _ in 0..records {
        let record = ProducerRecord { partition: Some(PARTITIONS - 1), ..ProducerRecord::new(&topic, b"x") };
        drop(producer.enqueue(record).await?);
    }
    Ok(producer.close(WITHIN).await?)
}

#[test]
fn the_table_fits_the_terminal_and_follows_what_happens() -> Outcome<()> {
    binary();
    let runtime = tokio::runtime::Runtime::new()?;
    let broker = runtime.block_on(DevBroker::start(Config::default()))?;
    let bootstrap = broker.bootstrap_servers();
    runtime.block_on(async {
        let client = connect(&bootstrap).await?;
        make_topics(&client, &[NewTopic::new("watched").partitions(PARTITIONS)]).await?;
        let offsets: Vec<_> =
            (0..PARTITIONS).map(|at| (TopicPartition::new("watched", at), NewOffset::from(0))).collect();
        for (_, altered) in client.admin().alter_offsets("a-group", &offsets).await? {
            altered?;
        }
        produce(&bootstrap, 3).await
    })?;

    let terminal = Terminal::new()?;
    terminal.resize(20, 60)?;
    let printed = terminal.printed()?;
    let mut command = Command::new(binary());
    command.args(["lag", "--watch", "--interval", "200ms", "-b", &bootstrap]).stdin(Stdio::null());
    command.stdout(terminal.theirs.try_clone()?).stderr(terminal.theirs.try_clone()?);
    let mut running = Running(command.spawn()?);

    let row = |lines: &[String], lag: &str| {
        let first = lines.iter().find(|line| line.starts_with("a-group"))?;
        let cells: Vec<&str> = first.split_whitespace().collect();
        (cells[1..3] == ["watched", "39"] && cells[5] == lag).then_some(())
    };
    let lines = wait_until("the one that is furthest behind comes first", WITHIN, || {
        let lines = screen(&printed);
        row(&lines, "3").map(|()| lines)
    });
    assert!(lines[0].starts_with("1 groups, 40 partitions of theirs"), "{lines:#?}");
    assert!(lines.len() < 20 && lines.iter().all(|line| line.chars().count() <= 60), "{lines:#?}");
    let rows = lines.iter().filter(|line| line.starts_with("a-group")).count();
    let hidden = format!("and {} more that are less behind", PARTITIONS as usize - rows);
    assert!(rows > 10 && lines.contains(&hidden), "{lines:#?}");

    runtime.block_on(produce(&bootstrap, 4))?;
    terminal.resize(60, 200)?;
    let lines = wait_until("what is new is shown, and all of it in a larger window", WITHIN, || {
        let lines = screen(&printed);
        let rows = lines.iter().filter(|line| line.starts_with("a-group")).count();
        row(&lines, "7").filter(|()| rows == PARTITIONS as usize).map(|()| lines)
    });
    assert!(!lines.iter().any(|line| line.contains("less behind")), "{lines:#?}");

    runtime.block_on(broker.stop())?;
    wait_until("an outage is said", WITHIN, || screen(&printed).first()?.starts_with("no lag now: ").then_some(()));
    let interrupted = Command::new("kill").args(["-INT", &running.0.id().to_string()]).status()?;
    assert!(interrupted.success());
    let status = wait_until("it ends", WITHIN, || running.0.try_wait().unwrap_or_default());
    assert!(status.success(), "{status}");
    Ok(())
}
