//! Clients that write rising values to rows of their own.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper_util::client::legacy::Error;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::verdict::Told;
use crate::{
    Client, Gateway,
    journal::{line, quantity},
};

/// Rows that one client writes.
const ROWS: i64 = 25;

/// A line of a cart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    pub profile: i64,
    pub product: i64,
}

/// What was told of each row.
pub type Account = HashMap<Row, Told>;

/// What writers share.
#[derive(Debug, Default)]
pub struct Signals {
    stop: AtomicBool,
    pub acknowledged: AtomicU64,
    next: AtomicI64,
}

/// Clients at work.
pub struct Writers {
    signals: Arc<Signals>,
    tasks: JoinSet<Account>,
}

/// What they do.
#[derive(Debug, Clone)]
pub struct Work {
    /// How many clients; they take the profiles in turns.
    pub clients: i64,
    pub profiles: Vec<i64>,
    /// The first product; those from it on are nobody else's.
    pub first: i64,
    /// Writes in a second by all of them; as many as they can if `None`.
    pub rate: Option<u32>,
    /// A profile that is none: its rows are refused by the database, and one write in a hundred is of such a row, each
    /// of another.
    pub poison: Option<i64>,
}

impl Writers {
    /// Sends them to a gateway. Values are larger than `after`.
    pub fn start(gateway: &Gateway, work: &Work, after: i64) -> Self {
        let signals = Arc::new(Signals { next: AtomicI64::new(after + 1), ..Signals::default() });
        let mut tasks = JoinSet::new();
        for client in 0..work.clients {
            let profile = work.profiles[usize::try_from(client).unwrap_or(0) % work.profiles.len()];
            let first = work.first + client * ROWS;
            let pace = work.rate.map(|rate| Duration::from_secs(1).mul_f64(work.clients as f64 / f64::from(rate)));
            let poison = work.poison.map(|profile| (profile, work.first));
            tasks.spawn(write(gateway.client(), profile, first, pace, poison, signals.clone()));
        }
        Self { signals, tasks }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.signals.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends them. What was told of each row, and the largest value.
    pub async fn end(self) -> (Account, i64) {
        self.signals.stop.store(true, Ordering::Relaxed);
        let mut account = Account::new();
        for of_one in self.tasks.join_all().await {
            account.extend(of_one);
        }
        (account, self.signals.next.load(Ordering::Relaxed))
    }
}

/// What a client was told.
enum Answered {
    Acknowledged,
    Refused,
    Unknown,
    /// Nobody listens: nothing was sent.
    Gone,
}

async fn put(client: &Client, row: Row, value: i64) -> Answered {
    match client.put(&line(row.profile, row.product), &quantity(value)).try_send().await {
        Ok(answer) if answer.status == 202 => Answered::Acknowledged,
        // Written through: it is on its shard.
        Ok(answer) if matches!(answer.status, 200 | 201 | 204) => Answered::Acknowledged,
        Ok(answer) if answer.json()["code"] == "TG004" => Answered::Unknown,
        Ok(_) => Answered::Refused,
        Err(error) if error.downcast_ref::<Error>().is_some_and(Error::is_connect) => Answered::Gone,
        Err(_) => Answered::Unknown,
    }
}

async fn write(
    client: Client,
    profile: i64,
    first: i64,
    pace: Option<Duration>,
    poison: Option<(i64, i64)>,
    signals: Arc<Signals>,
) -> Account {
    let mut account = Account::new();
    let mut ticks = pace.map(|pace| {
        let mut ticks = tokio::time::interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        ticks
    });
    for turn in 0.. {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        if signals.stop.load(Ordering::Relaxed) {
            break;
        }
        let value = signals.next.fetch_add(1, Ordering::Relaxed);
        let row = match poison {
            // Of a value of its own: no two writes are of the same.
            Some((profile, first)) if value % 100 == 0 => Row { profile, product: first + value },
            _ => Row { profile, product: first + turn % ROWS },
        };
        let answered = put(&client, row, value).await;
        let told = account.entry(row).or_default();
        match answered {
            Answered::Acknowledged => {
                signals.acknowledged.fetch_add(1, Ordering::Relaxed);
                told.acknowledged.push(value);
            }
            Answered::Refused => told.refused.push(value),
            Answered::Unknown => told.unknown.push(value),
            Answered::Gone => break,
        }
    }
    account
}
