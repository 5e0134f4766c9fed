//! The journal on the file system, and a process that is killed while it writes.

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use crate::support::{append, settings};
use tidegate_journal::{AppendError, Ended, Journal, Log, OpenError, RealDisk, Record, Recovered, disk::Disk};
use tidegate_types::mutation::Sequence;

/// Where the process to be killed has its journal.
const VICTIM: &str = "TIDEGATE_JOURNAL_VICTIM";

fn open(path: &Path) -> (Journal, Recovered) {
    Journal::open(Arc::new(RealDisk::open(path).unwrap()), settings()).unwrap()
}

#[test]
fn one_process_has_a_directory_and_nobody_else_reads_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/journal");
    let (journal, _) = open(&path);
    assert!(matches!(RealDisk::open(&path), Err(OpenError::Locked { path: taken }) if taken == path));
    drop(append(&journal, b"row"));
    journal.close();
    drop(journal);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("00000000000000000001.log")), 0o600);
    assert_eq!(path.join("00000000000000000001.log").metadata().unwrap().len(), 4096);
    assert_eq!(open(&path).1.count(), 1);
}

#[test]
fn space_is_taken_when_a_file_is_made() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(directory.path()).unwrap();
    disk.create("spare-1", 1 << 20).unwrap();
    let made = directory.path().join("spare-1").metadata().unwrap();
    assert!(made.blocks() * 512 >= 1 << 20, "{} blocks", made.blocks());
    disk.rename("spare-1", "x.log").unwrap();
    disk.sync_directory().unwrap();
    assert!(disk.list().unwrap().contains(&"x.log".to_owned()));
    disk.remove("x.log").unwrap();
    assert!(disk.open("x.log").is_err());
}

/// Record `n` holds `n`, as text. Nine leave together.
fn be_a_victim(path: &Path) -> ! {
    let (journal, recovered) = open(path);
    drop(recovered);
    loop {
        let next = journal.last().0 + 1;
        let tickets: Vec<_> = (next..next + 9).map(|number| append(&journal, number.to_string().as_bytes())).collect();
        for ticket in tickets {
            while ticket.outcome().is_none() {
                std::thread::yield_now();
            }
            println!("acknowledged {}", ticket.sequence().0);
        }
        journal.release(Sequence(next.saturating_sub(40)));
    }
}

#[test]
fn a_process_that_is_killed_loses_nothing_it_acknowledged() {
    if let Some(path) = std::env::var_os(VICTIM) {
        be_a_victim(Path::new(&path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let mut acknowledged = 0;
    for life in 1..=6_u64 {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "real_disk::a_process_that_is_killed_loses_nothing_it_acknowledged", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
        // What follows the last line that is read may have been acknowledged as well.
        let mut acknowledgements = told.filter_map(|line| line.split("acknowledged ").nth(1)?.parse::<u64>().ok());
        let enough = 10 + 3 * usize::try_from(life).unwrap();
        acknowledged = acknowledgements.by_ref().take(enough).last().expect("it acknowledges").max(acknowledged);
        victim.kill().unwrap();
        acknowledged = acknowledgements.last().unwrap_or(acknowledged);
        victim.wait().unwrap();

        let (journal, recovered) = open(&path);
        assert_eq!(recovered.epoch(), 2 * life);
        assert!(journal.durable().0 >= acknowledged, "{acknowledged} was acknowledged");
        let oldest = recovered.oldest().0;
        assert!(oldest <= acknowledged.saturating_sub(40) + 1);
        for (next, record) in (oldest..).zip(recovered) {
            let record = record.unwrap();
            assert_eq!((record.sequence.0, &record.payload[..]), (next, next.to_string().as_bytes()));
        }
    }
}

/// Whoever appends need not know which log it is.
#[tokio::test]
async fn a_log_on_a_disk_serves_as_any_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let log: Arc<dyn Log> = Arc::new(open(&path).0);
    let record = |payload| Record { partition: 1, idempotency: None, payload };
    let ticket = log.append(&record(b"first")).unwrap();
    log.wait_durable(ticket.sequence()).await.unwrap();
    assert_eq!((log.epoch(), log.durable(), log.stats().durable), (1, Sequence(1), Sequence(1)));
    let last = log.append(&record(b"second")).unwrap();
    log.release(Sequence(1));
    log.close().await;
    assert_eq!((last.outcome(), log.last()), (Some(Ok(())), Sequence(2)));
    assert_eq!(log.append(&record(b"late")).unwrap_err(), AppendError::Ended(Ended::Closed));
    log.close().await;
    drop(log);
    assert_eq!(open(&path).1.count(), 2);
}
