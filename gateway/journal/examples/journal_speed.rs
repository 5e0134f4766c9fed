//! What the journal makes of a disk: syncs alone, records with many who wait, and reading it all back.
//!
//! ```text
//! cargo run --release -p tidegate-journal --example journal_speed -- [DIRECTORY] [MiB to recover]
//! ```
//! In a new directory under `DIRECTORY` (the current one), which must be on the disk to be measured; removed at the end.

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_journal::{
    Journal, RealDisk, Record, Settings,
    disk::{Disk, DiskFile},
};

/// How long each part writes.
const PERIOD: Duration = Duration::from_secs(5);
const WAITERS: usize = 64;
const PAYLOAD: [u8; 512] = [0x5a; 512];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let above = arguments.next().map_or(PathBuf::from("."), PathBuf::from);
    let to_recover = arguments.next().map_or(Ok(1024), |mebibytes| mebibytes.parse::<u64>())? << 20;
    let directory = tempfile::tempdir_in(above)?;

    let syncs = syncs(&RealDisk::open(&directory.path().join("syncs"))?)?;
    let sync_p99 = p99(&syncs);
    println!("fdatasync of one record:  {:>9.0}/s, p99 {sync_p99:?}", rate(syncs.len()));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let path = directory.path().join("journal");
    let settings = Settings { max_bytes: to_recover + (1 << 30), ..Settings::default() };
    let (journal, recovered) = Journal::open(Arc::new(RealDisk::open(&path)?), settings.clone())?;
    drop(recovered);
    let acknowledged = runtime.block_on(acknowledgements(&journal));
    let ratio = p99(&acknowledged).as_secs_f64() / sync_p99.as_secs_f64();
    println!(
        "acknowledged, {WAITERS} waiting: {:>9.0}/s, p99 {:?} = {ratio:.2} x that of fdatasync; {} syncs",
        rate(acknowledged.len()),
        p99(&acknowledged),
        journal.stats().syncs.count,
    );

    fill(&journal, to_recover, &runtime)?;
    journal.close();
    drop(journal);
    let begun = Instant::now();
    let (journal, recovered) = Journal::open(Arc::new(RealDisk::open(&path)?), settings)?;
    let mut records = 0_u64;
    for record in recovered {
        record?;
        records += 1;
    }
    let took = begun.elapsed();
    let megabytes = journal.stats().used_bytes as f64 / 1e6;
    println!(
        "recovery:                 {:>9.0} MB/s ({records} records, {megabytes:.0} MB)",
        megabytes / took.as_secs_f64()
    );
    Ok(())
}

/// One write as long as a record, one sync, and again.
fn syncs(disk: &RealDisk) -> std::io::Result<Vec<Duration>> {
    let file: Box<dyn DiskFile> = disk.create("file", 64 << 20)?;
    let mut took = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < PERIOD {
        let at = took.len() as u64 * 576 % (63 << 20);
        let one = Instant::now();
        file.write_at(at, &[1; 576])?;
        file.sync_data()?;
        took.push(one.elapsed());
    }
    Ok(took)
}

/// Everybody appends, waits, and again.
async fn acknowledgements(journal: &Journal) -> Vec<Duration> {
    let begun = Instant::now();
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut took = Vec::new();
                while begun.elapsed() < PERIOD {
                    let one = Instant::now();
                    let Ok(ticket) = journal.append(&record()) else { break };
                    if ticket.durable().await.is_err() {
                        break;
                    }
                    took.push(one.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for waiter in waiters {
        took.extend(waiter.await.unwrap_or_default());
    }
    took
}

/// Appends until the journal has so many bytes.
fn fill(journal: &Journal, bytes: u64, runtime: &tokio::runtime::Runtime) -> Result<(), Box<dyn Error>> {
    while journal.stats().used_bytes < bytes {
        match journal.append(&record()) {
            Ok(_ticket) => {}
            Err(tidegate_journal::AppendError::Behind { .. }) => {
                runtime.block_on(journal.wait_durable(journal.last()))?;
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    Ok(())
}

fn record() -> Record<'static> {
    Record { partition: 0, idempotency: Some(1), payload: &PAYLOAD }
}

fn rate(count: usize) -> f64 {
    count as f64 / PERIOD.as_secs_f64()
}

fn p99(took: &[Duration]) -> Duration {
    let mut took = took.to_vec();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}
