//! A run: clients, gateways, shards, disasters.

use std::{
    cell::{Cell as Flag, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use tidegate_history::Span;

use crate::{
    bugs::Bug,
    executor::{Ended, Node, Sim, nanos},
    gateway::{Failure, Gateway, Surroundings},
    judge::Judge,
    network::Network,
    postgres::{Cell, RowId, Written},
    session::{Outcome, Shard, delay},
    shape::{Focus, Shape},
    shared::SharedTier,
    standby::Answer,
    trace::Trace,
    write::{Order, Refill},
};

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Decides everything.
    pub seed: u64,
    /// What it is to be about.
    pub focus: Focus,
    /// The error that the gateways have.
    pub bug: Option<Bug>,
}

/// How a run went.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was run.
    pub plan: Plan,
    /// `Ok`, or what was wrong.
    pub verdict: Result<(), String>,
    /// Reads and writes that were judged.
    pub operations: u64,
    /// Disasters that happened.
    pub disasters: u64,
    /// What happened.
    pub trace: Trace,
}

#[derive(Clone)]
struct World {
    around: Surroundings,
    judge: Rc<RefCell<Judge>>,
    left: Rc<Flag<u64>>,
    next_value: Rc<Flag<u64>>,
    disasters: Rc<Flag<u64>>,
}

/// Keys from here on change without gateways.
const PURGED: u32 = 1_000_000;

/// More than any run needs. Of a long one other people's transactions take most.
const MAX_STEPS: u64 = 30_000_000;

/// Runs a seed.
#[must_use]
pub fn run(plan: Plan, trace: Trace) -> Report {
    run_in(Shape::of(plan.seed, plan.focus), plan, trace)
}

/// Runs a seed in a world of one's own making.
#[must_use]
pub fn run_in(shape: Shape, plan: Plan, trace: Trace) -> Report {
    let sim = Sim::new(plan.seed, trace);
    let world = World::new(&sim, shape, plan.bug);
    let main = world.clone();
    let ended = sim.run(MAX_STEPS, async move { main.live().await });
    let judge = world.judge.borrow();
    let verdict = match (judge.verdict(), ended) {
        (Ok(()), Ended::Stuck) => Err("nothing went on: a request was never answered".to_owned()),
        (Ok(()), Ended::Exhausted) => Err(format!("requests were not answered within {MAX_STEPS} steps")),
        (verdict, _) => verdict,
    };
    Report { plan, verdict, operations: judge.operations(), disasters: world.disasters.get(), trace: sim.trace() }
}

impl World {
    fn new(sim: &Sim, shape: Shape, bug: Option<Bug>) -> Self {
        let around = Surroundings {
            sim: sim.clone(),
            shards: (0..shape.shards).map(|_| Shard::new(sim, shape.trouble)).collect(),
            network: Network::new(sim, shape.losses),
            processes: Rc::new(RefCell::new(BTreeMap::new())),
            tier: shape.shares.then(SharedTier::default),
            shape,
            bug,
        };
        let left = Rc::new(Flag::new(around.shape.operations));
        Self { around, judge: Rc::default(), left, next_value: Rc::default(), disasters: Rc::default() }
    }

    async fn live(self) {
        let (sim, shape) = (self.around.sim.clone(), self.around.shape.clone());
        for id in 0..shape.gateways {
            self.start(id);
        }
        self.start_disasters();
        self.start_noise();
        self.start_replay();
        let done = Rc::new(Flag::new(0));
        for _ in 0..shape.clients {
            let (world, done) = (self.clone(), done.clone());
            sim.spawn(Node::Outside, async move {
                world.client().await;
                done.set(done.get() + 1);
            });
        }
        while done.get() < shape.clients && self.judge.borrow().seen().is_none() {
            sim.sleep(Duration::from_millis(1)).await;
        }
        // What a cycle of handles would keep.
        self.around.processes.borrow_mut().clear();
    }

    fn start(&self, id: u8) {
        let gateway = Gateway::start(id, &self.around);
        self.around.processes.borrow_mut().insert(id, gateway);
    }

    async fn client(&self) {
        let (sim, shape) = (&self.around.sim, &self.around.shape);
        while self.left.get() > 0 {
            self.left.set(self.left.get() - 1);
            let think = nanos(shape.think);
            sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(..think) * random.u64(..3)))).await;
            let (id, key) = sim.draw(|random| (random.u8(..shape.gateways), random.u32(..shape.keys)));
            let Some(gateway) = self.around.processes.borrow().get(&id).cloned() else { continue };
            if sim.once_in(6) {
                self.use_purged_row(gateway, PURGED + key).await;
            } else if shape.lag.is_some() && sim.once_in(2) {
                self.read_on_standby(gateway, key).await;
            } else if sim.once_in(shape.writes) {
                self.write(gateway, key).await;
            } else {
                self.read(gateway, key).await;
            }
        }
    }

    fn shard_of(&self, key: u32) -> usize {
        key as usize % self.around.shape.shards
    }

    async fn read(&self, gateway: Rc<Gateway>, key: u32) {
        let (sim, shard) = (&self.around.sim, self.shard_of(key));
        let at_least = self.judge.borrow().read_begins(key);
        let start = sim.tick();
        let variant = sim.draw(|random| u32::from(random.u8(..4) == 0));
        let node = gateway.node();
        let answer = sim.call(node, async move { gateway.read(shard, key, variant).await }).await;
        if let Ok(Ok(value)) = answer {
            let span = Span { start, end: Some(sim.tick()) };
            let server = self.around.shards[shard].server.borrow();
            self.judge.borrow_mut().read_ends(&server, key, value, at_least, span);
        }
    }

    /// Reads a row where a standby may have been asked. What was asked just now may be old; what was kept may not.
    async fn read_on_standby(&self, gateway: Rc<Gateway>, key: u32) {
        let (sim, shard, node) = (&self.around.sim, self.shard_of(key), gateway.node());
        let at_least = self.judge.borrow().read_begins(key);
        let start = sim.tick();
        let answer = sim.call(node, async move { gateway.read_on_standby(shard, key).await }).await;
        if let Ok(Ok(Answer::Kept(value))) = answer {
            let span = Span { start, end: Some(sim.tick()) };
            let server = self.around.shards[shard].server.borrow();
            self.judge.borrow_mut().read_ends(&server, key, value, at_least, span);
        }
    }

    /// Reads a row that nobody writes through a gateway, or changes it behind their backs and purges it.
    async fn use_purged_row(&self, gateway: Rc<Gateway>, key: u32) {
        let (sim, shard, node) = (&self.around.sim, self.shard_of(key), gateway.node());
        if !sim.once_in(3) {
            let at_least = self.judge.borrow().read_begins(key);
            let answer = sim.call(node, async move { gateway.read(shard, key, 0).await }).await;
            if let Ok(Ok(value)) = answer {
                let server = self.around.shards[shard].server.borrow();
                self.judge.borrow_mut().purged_read_ends(&server, key, value, at_least);
            }
            return;
        }
        self.next_value.set(self.next_value.get() + 1);
        let tag = self.next_value.get();
        let written = Written { value: Some(tag), tag };
        let tx = self.around.shards[shard].begin(self.around.shards[shard].server.borrow().timeline);
        let changed = async {
            tx.write(RowId::Data(key), Cell::Value(written)).await.ok()?;
            tx.commit().await.ok()
        };
        if changed.await != Some(Outcome::Committed) {
            return;
        }
        if let Ok(Ok(())) = sim.call(node, async move { gateway.purge(shard, key).await }).await {
            let server = self.around.shards[shard].server.borrow();
            self.judge.borrow_mut().purged(&server, key, written);
        }
    }

    fn order(&self, key: u32) -> Order {
        let (sim, shape) = (&self.around.sim, &self.around.shape);
        let written = || {
            self.next_value.set(self.next_value.get() + 1);
            let tag = self.next_value.get();
            Written { value: (!sim.once_in(6)).then_some(tag), tag }
        };
        let mut rows = BTreeMap::from([(key, written())]);
        let other = sim.draw(|random| random.u32(..shape.keys));
        let mut undone = None;
        if self.shard_of(other) == self.shard_of(key) && other != key {
            match sim.draw(|random| random.u8(..8)) {
                0 => drop(rows.insert(other, written())),
                // Locks are taken in ascending order.
                1 if other < key => undone = Some(other),
                _ => {}
            }
        }
        let refill = if sim.once_in(3) { Refill::Read } else { Refill::None };
        Order { rows: rows.into_iter().collect(), undone, refill }
    }

    async fn write(&self, gateway: Rc<Gateway>, key: u32) {
        let (sim, shard) = (&self.around.sim, self.shard_of(key));
        let order = self.order(key);
        let rows = order.rows.clone();
        let start = sim.tick();
        for (key, written) in &rows {
            self.judge.borrow_mut().write_begins(*key, *written, start);
        }
        let node = gateway.node();
        let outcome = sim.call(node, async move { gateway.write(shard, order).await }).await;
        let end = match outcome {
            Ok(Ok(())) => Some(sim.tick()),
            Ok(Err(Failure::Unknown)) | Err(_) => None,
            Ok(Err(Failure::Refused)) => {
                rows.iter().for_each(|(_, written)| self.judge.borrow_mut().write_refused(*written));
                return;
            }
        };
        let server = self.around.shards[shard].server.borrow();
        for (_, written) in rows {
            self.judge.borrow_mut().write_ends(&server, written, end);
        }
    }

    fn start_disasters(&self) {
        let disasters = self.around.shape.disasters;
        self.every(disasters.pauses, async |world, id| {
            let sim = &world.around.sim;
            sim.note("paused", [u64::from(id), 0, 0]);
            sim.pause(Node::Gateway(id));
            sim.sleep(world.some_leases(3)).await;
            sim.note("resumed", [u64::from(id), 0, 0]);
            sim.resume(Node::Gateway(id));
        });
        self.every(disasters.crashes, async |world, id| {
            world.around.sim.note("crashed", [u64::from(id), 0, 0]);
            world.around.processes.borrow_mut().remove(&id);
            world.around.sim.crash(Node::Gateway(id));
            world.around.sim.sleep(world.some_leases(2)).await;
            world.around.sim.note("restarted", [u64::from(id), 0, 0]);
            world.start(id);
        });
        self.every(disasters.leaves, async |world, id| {
            let gateway = world.around.processes.borrow().get(&id).cloned();
            let Some(gateway) = gateway else { return };
            world.around.sim.note("leaves", [u64::from(id), 0, 0]);
            // It may crash meanwhile.
            let _ = world.around.sim.call(gateway.node(), async move { gateway.leave().await }).await;
        });
        self.every(disasters.partitions, async |world, id| {
            let other = (id + 1) % world.around.shape.gateways;
            world.around.sim.note("cut off", [u64::from(id), u64::from(other), 0]);
            world.around.network.cut(id, other);
            world.around.sim.sleep(world.some_leases(4)).await;
            world.around.network.heal();
        });
        self.every(disasters.shows, async |world, id| {
            let shard = &world.around.shards[usize::from(id) % world.around.shards.len()];
            shard.server.borrow_mut().shown += 1;
            world.around.sim.note("shows itself otherwise", [u64::from(id), 0, 0]);
        });
        self.every(disasters.promotions, async |world, id| {
            let shard = &world.around.shards[usize::from(id) % world.around.shards.len()];
            let (least, most) = shard.server.borrow().promotable();
            let sim = &world.around.sim;
            let (kept, spare) =
                sim.draw(|random| (if random.bool() { least } else { random.usize(least..=most) }, random.u64(..4)));
            shard.server.borrow_mut().promote(kept, sim.now(), spare);
            if sim.once_in(2) {
                shard.server.borrow_mut().forget_members();
            }
            sim.note("promoted", [u64::from(id), kept as u64, spare]);
            shard.notify();
        });
    }

    /// Standbys replay what they have received, a little at a time and sometimes not for long.
    fn start_replay(&self) {
        let Some(lag) = self.around.shape.lag.map(nanos) else { return };
        for shard in self.around.shards.iter() {
            let (sim, shard, long) = (self.around.sim.clone(), shard.clone(), self.some_leases(2));
            self.around.sim.spawn(Node::Outside, async move {
                loop {
                    sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(..lag)))).await;
                    if sim.once_in(60) {
                        sim.sleep(long).await;
                    }
                    let records = sim.draw(|random| if random.bool() { random.usize(1..=3) } else { usize::MAX / 2 });
                    shard.server.borrow_mut().replay(records);
                }
            });
        }
    }

    /// Transactions on other tables: they take xids, hold `xmin` back, and are lost at promotions.
    fn start_noise(&self) {
        let Some(pause) = self.around.shape.noise.map(nanos) else { return };
        for shard in self.around.shards.iter() {
            let (sim, shard) = (self.around.sim.clone(), shard.clone());
            self.around.sim.spawn(Node::Outside, async move {
                loop {
                    sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(..pause)))).await;
                    let tx = shard.begin(shard.server.borrow().timeline);
                    sim.spawn(Node::Outside, async move {
                        if tx.xid().is_ok() {
                            tx.sim().sleep(delay(tx.sim()) * 2).await;
                            // A promotion may have ended it.
                            let _ = tx.commit().await;
                        }
                    });
                }
            });
        }
    }

    /// A while of up to so many leases.
    fn some_leases(&self, most: u64) -> Duration {
        let lease = nanos(self.around.shape.lease);
        Duration::from_nanos(self.around.sim.draw(|random| random.u64(..lease * most)))
    }

    /// Does something to a gateway again and again.
    fn every(&self, mean: Option<Duration>, disaster: impl AsyncFn(&Self, u8) + 'static) {
        let Some(mean) = mean else { return };
        let world = self.clone();
        self.around.sim.spawn(Node::Outside, async move {
            let sim = &world.around.sim;
            loop {
                sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(..nanos(mean) * 2)))).await;
                let id = sim.draw(|random| random.u8(..world.around.shape.gateways));
                world.disasters.set(world.disasters.get() + 1);
                disaster(&world, id).await;
            }
        });
    }
}
