//! Changes past the gateways: transactions of one to three rows, some of them held open, some rolled back.

use std::time::{Duration, Instant};

use tidegate_history::{Operation, Span, Value, bounded::Writer};
use tokio::sync::watch;
use tokio_postgres::Client;

use super::{Place, Row, Scene, clients::Record, disasters::Stop, name};

/// How many operations clients begin between two transactions, at most and about.
const BETWEEN: u64 = 60;
/// How often they are counted.
const LOOK: Duration = Duration::from_millis(2);
/// The longest pause between transactions, where clients have to wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The longest time that one is held open, in milliseconds.
const HELD: u64 = 20;

/// A row of the shard.
struct Target {
    index: usize,
    row: Row,
    /// Whether it is there, as far as this writer knows. Of its own rows nobody else knows better.
    there: bool,
}

/// Changes rows of one shard until it is told to stop. Every change it reports was committed.
///
/// # Panics
/// If a statement fails: its connection goes past the bad network.
pub(super) async fn run(
    scene: Scene,
    shard: usize,
    connection: Client,
    mut over: watch::Receiver<Stop>,
    mut random: fastrand::Rng,
) -> Record {
    let mine = |(_, row): &(usize, &Row)| row.shard == shard && row.place != Place::Products;
    let rows = scene.rows.iter().enumerate().filter(mine);
    let mut targets: Vec<Target> = rows.map(|(index, row)| Target { index, row: *row, there: true }).collect();
    let mut record = Record::default();
    loop {
        let (until, since) = (scene.begun() + random.u64(..=BETWEEN), Instant::now());
        while scene.begun() < until && since.elapsed() < LONGEST_PAUSE {
            if tokio::time::timeout(LOOK, over.wait_for(|stop| *stop == Stop::Yes)).await.is_ok() {
                return record;
            }
        }
        transaction(&scene, &connection, &mut targets, &mut random, &mut record).await;
    }
}

async fn transaction(
    scene: &Scene,
    connection: &Client,
    targets: &mut [Target],
    random: &mut fastrand::Rng,
    record: &mut Record,
) {
    // In the order of the table, so that two never wait for each other.
    let first = random.usize(..targets.len());
    let last = (first + random.usize(1..=3)).min(targets.len());
    let targets = &mut targets[first..last];
    let mut changes: Vec<(Value, Duration)> = Vec::new();
    connection.batch_execute("BEGIN").await.expect("BEGIN");
    for target in targets.iter() {
        let value = match target.row.place {
            Place::Alone if target.there && random.u8(..5) == 0 => None,
            _ => Some(scene.fresh()),
        };
        let start = scene.clock.now();
        connection.batch_execute(&statement(target.row.id, value)).await.expect("a change");
        changes.push((value, start));
    }
    if random.u8(..4) == 0 {
        tokio::time::sleep(Duration::from_millis(random.u64(..=HELD))).await;
    }
    if random.u8(..10) == 0 {
        return connection.batch_execute("ROLLBACK").await.expect("ROLLBACK");
    }
    connection.batch_execute("COMMIT").await.expect("COMMIT");
    let end = Some(scene.clock.now());
    for (target, (value, start)) in targets.iter_mut().zip(changes) {
        target.there = value.is_some();
        record.events.push((target.index, Writer::Outside, Operation::Write(value), Span { start, end }));
    }
}

fn statement(id: i64, value: Value) -> String {
    match value {
        Some(value) => {
            format!("INSERT INTO ledger VALUES ({id}, '{0}') ON CONFLICT (id) DO UPDATE SET name = '{0}'", name(value))
        }
        None => format!("DELETE FROM ledger WHERE id = {id}"),
    }
}
