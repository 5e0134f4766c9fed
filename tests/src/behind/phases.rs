//! What goes wrong while clients write.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    Effort, Phase,
    verdict::{Told, judge},
    writers::{Account, Row, Work, Writers},
};
use crate::{
    Gateway, Shards, World,
    journal::{behind, depth, folder, profile},
    schema, until,
};

/// What was applied, noted by the database in the transaction that applied it. A CHECK and not a trigger, which would
/// make the table unfit; an upsert that meets a row asks it twice.
pub const NOTES: &str = "
CREATE TABLE seen (n bigserial, xid xid8, profile_id bigint, product_id bigint, quantity int);
CREATE FUNCTION note(bigint, bigint, int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
INSERT INTO seen (xid, profile_id, product_id, quantity) VALUES (pg_current_xact_id(), $1, $2, $3); RETURN true; END $$;
ALTER TABLE carts ADD CHECK (note(profile_id, product_id, quantity)) NOT VALID";
/// Clients of a phase.
const CLIENTS: i64 = 32;
/// Products of a phase; those of poison rows are told by their values.
const PRODUCTS: i64 = 10_000_000;
/// Acknowledged between two kills, at most, beside a few.
const BETWEEN_KILLS: u64 = 2_000;
/// What waits must become less within this time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a shard applied to a row, and the value that it has.
type Done = (Vec<(u64, i64)>, Option<i64>);

/// A world, and who writes to it.
pub struct Stage {
    // Before the shards: it ends first. `None` while it is exchanged for another.
    gateway: Option<Gateway>,
    shards: Shards,
    profiles: Vec<i64>,
    rng: fastrand::Rng,
    rate: u32,
    phases: i64,
    /// The largest value so far.
    value: i64,
    #[expect(dead_code, reason = "removed on drop")]
    dir: TempDir,
}

impl Stage {
    /// Two shards, and a gateway that takes whatever comes while they are down.
    pub async fn build(effort: Effort) -> Self {
        let dir = folder();
        let shards = Shards::start_with(2, crate::shards::StatementLog::Off, &[]).await;
        schema::create(&shards, crate::world::PRODUCTS).await;
        shards.execute_all(NOTES).await;
        let config = |config: crate::Config| {
            behind(config, dir.path())
                .set("journal", "max_bytes", "\"8GiB\"")
                .set("journal", "max_dirty_bytes", "\"8GiB\"")
                .set("journal", "max_age", "\"24h\"")
        };
        let World { gateway, shards, .. } = World::over(shards, config).await;
        let profiles = vec![profile(&shards, 0), profile(&shards, 1)];
        let rng = fastrand::Rng::with_seed(effort.seed);
        Self { gateway: Some(gateway), shards, profiles, rng, rate: effort.rate, phases: 0, value: 0, dir }
    }

    fn work(&mut self, rate: Option<u32>) -> Work {
        self.phases += 1;
        let first = self.phases * PRODUCTS;
        Work { clients: CLIENTS, profiles: self.profiles.clone(), first, rate, poison: None }
    }

    async fn end(&mut self, writers: Writers, account: &mut Account) {
        let (told, value) = writers.end().await;
        self.value = value;
        for (row, of_row) in told {
            let known = account.entry(row).or_default();
            known.acknowledged.extend(of_row.acknowledged);
            known.unknown.extend(of_row.unknown);
            known.refused.extend(of_row.refused);
        }
    }

    /// The gateway is killed under load, and started again.
    pub async fn kills(&mut self, kills: u64) -> Phase {
        let (work, mut account) = (self.work(None), Account::new());
        let mut deepest = 0;
        for round in 0..=kills {
            let writers = Writers::start(self.gateway(), &work, self.value);
            let enough = self.rng.u64(20..BETWEEN_KILLS);
            until("enough is acknowledged", async || (writers.acknowledged() >= enough).then_some(())).await;
            if round < kills {
                deepest = deepest.max(depth(self.gateway()).await);
                self.kill_and_start().await;
            }
            self.end(writers, &mut account).await;
        }
        self.judged("gateway killed", account, &work, deepest).await
    }

    fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("there is always one between two kills")
    }

    async fn kill_and_start(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.gateway = Some(gateway.kill_and_start().await);
        }
    }

    /// Shards are down for this long, and come back.
    pub async fn outage(&mut self, name: &'static str, shards: &[usize], time: Duration) -> Phase {
        let (work, mut account) = (self.work(Some(self.rate)), Account::new());
        let writers = Writers::start(self.gateway(), &work, self.value);
        until("writers write", async || (writers.acknowledged() > 100).then_some(())).await;
        for shard in shards {
            self.shards.cluster_mut(*shard).stop().await;
        }
        tokio::time::sleep(time).await;
        let deepest = depth(self.gateway()).await;
        for shard in shards {
            self.shards.cluster_mut(*shard).restart().await.expect("the server starts again");
        }
        self.end(writers, &mut account).await;
        self.judged(name, account, &work, deepest).await
    }

    /// One write in a hundred is of a row that the database refuses.
    pub async fn poison(&mut self) -> Phase {
        let nobody = self.shards.ids_on(0).find(|id| *id > 1_000_000).expect("numbers do not end");
        let (mut work, mut account) = (self.work(Some(self.rate)), Account::new());
        work.poison = Some(nobody);
        let writers = Writers::start(self.gateway(), &work, self.value);
        let enough = u64::from(self.rate) * 5;
        until("enough is acknowledged", async || (writers.acknowledged() >= enough).then_some(())).await;
        self.end(writers, &mut account).await;
        self.judged("poison rows", account, &work, 0).await
    }

    async fn drained(&self) -> Duration {
        let begun = Instant::now();
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            match depth(self.gateway()).await {
                0 => return begun.elapsed(),
                less if less < least => (least, since) = (less, Instant::now()),
                more => assert!(since.elapsed() < PATIENCE, "{more} writes wait, and do not become less"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What clients were told, beside what the shards did.
    async fn judged(&self, name: &'static str, account: Account, work: &Work, deepest: u64) -> Phase {
        let mut phase = Phase { name, deepest, drained: self.drained().await, ..Phase::default() };
        let mut done = self.done(work.first).await;
        let letters = self.letters(work).await;
        phase.letters = letters.len() as u64;
        for (row, mut told) in account {
            phase.acknowledged += told.acknowledged.len() as u64;
            phase.refused += told.refused.len() as u64;
            phase.unknown += told.unknown.len() as u64;
            phase.rows += 1;
            let (applied, stored) = done.remove(&row).unwrap_or_default();
            phase.applied += applied.len() as u64;
            if Some(row.profile) == work.poison {
                let dead = letters.contains(&format!("{},{}", row.profile, row.product));
                let may_be = !told.acknowledged.is_empty() || (dead && !told.unknown.is_empty());
                phase.misjudged += u64::from(dead != may_be);
                told.acknowledged.clear();
            }
            phase.faults += judge(&told, &applied, stored);
        }
        // What nobody wrote.
        for (applied, stored) in done.into_values() {
            phase.faults += judge(&Told::default(), &applied, stored);
        }
        phase
    }

    /// What the shards did with the rows of a phase.
    async fn done(&self, first: i64) -> HashMap<Row, Done> {
        let mut done: HashMap<Row, Done> = HashMap::new();
        let within = format!("product_id >= {first} AND product_id < {}", first + PRODUCTS);
        for shard in 0..self.shards.len() {
            let client = self.shards.connect(shard).await;
            let notes =
                format!("SELECT profile_id, product_id, quantity, xid::text FROM seen WHERE {within} ORDER BY n");
            for note in client.query(&notes, &[]).await.expect("notes") {
                let row = Row { profile: note.get(0), product: note.get(1) };
                let xid: String = note.get(3);
                let applied = (xid.parse().expect("a number"), i64::from(note.get::<_, i32>(2)));
                done.entry(row).or_default().0.push(applied);
            }
            let rows = format!("SELECT profile_id, product_id, quantity FROM carts WHERE {within}");
            for stored in client.query(&rows, &[]).await.expect("rows") {
                let row = Row { profile: stored.get(0), product: stored.get(1) };
                done.entry(row).or_default().1 = Some(i64::from(stored.get::<_, i32>(2)));
            }
        }
        done
    }

    /// The rows of a phase's dead letters.
    async fn letters(&self, work: &Work) -> HashSet<String> {
        let mut letters = HashSet::new();
        for shard in 0..self.shards.len() {
            let client = self.shards.connect(shard).await;
            let sql = "SELECT key FROM tidegate.dead_letters WHERE split_part(key, ',', 2)::bigint >= $1";
            for letter in client.query(sql, &[&work.first]).await.expect("letters") {
                letters.insert(letter.get(0));
            }
        }
        letters
    }
}
