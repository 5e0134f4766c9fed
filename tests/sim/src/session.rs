//! What a gateway, or somebody else, does with a shard over a connection: requests and answers take time, and
//! connections are cut at any moment.

use std::{
    cell::{Cell as Flag, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::sync::oneshot;

use crate::{
    executor::{Node, Signal, Sim},
    postgres::{Cell, Lost, RowId, Server},
};

/// A shard's primary, and the network to it.
#[derive(Clone)]
pub struct Shard {
    /// The scheduler.
    pub sim: Sim,
    /// The server.
    pub server: Rc<RefCell<Server>>,
    changed: Signal,
    trouble: Trouble,
}

/// How much goes wrong between gateways and a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// One request in so many loses its connection; 0 for none.
    pub cuts: u32,
    /// One commit in so many becomes visible late; 0 for none.
    pub gaps: u32,
    /// How late at most.
    pub gap: Duration,
    /// One commit in so many fails in a deferred trigger; 0 for none.
    pub deferred: u32,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    LostBefore,
    LostAfter,
}

/// A transaction on a shard.
pub struct Tx {
    shard: Shard,
    timeline: u64,
    xid: Flag<Option<u64>>,
    phase: Flag<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    CommitSent,
    /// The client knows how it ended.
    Ended,
    /// The server has noticed that the connection is gone.
    Closed,
}

/// How a COMMIT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Visible to all.
    Committed,
    /// A deferred constraint or trigger refused it.
    Aborted,
}

/// A delay with a heavy tail, so that everything overtakes everything now and then.
pub fn delay(sim: &Sim) -> Duration {
    sim.draw(|random| {
        let usual = random.u64(20_000..300_000);
        Duration::from_nanos(match random.u32(0..64) {
            0 => usual * 200,
            1..3 => usual * 60,
            3..10 => usual * 12,
            _ => usual,
        })
    })
}

impl Shard {
    /// A new primary.
    #[must_use]
    pub fn new(sim: &Sim, trouble: Trouble) -> Self {
        Self { sim: sim.clone(), server: Rc::default(), changed: Signal::default(), trouble }
    }

    /// Sends a request and waits for its answer. `work` runs at the server, also if nobody waits any more.
    ///
    /// # Errors
    /// The connection was lost: nothing, or all of it, was done.
    pub async fn request<T: 'static>(
        &self,
        work: impl AsyncFnOnce(Shard) -> Result<T, Lost> + 'static,
    ) -> Result<T, Lost> {
        let (sender, answer) = oneshot::channel();
        let (sim, shard) = (self.sim.clone(), self.clone());
        let fate = match sim.once_in(self.trouble.cuts) {
            false => Fate::Answered,
            true if sim.once_in(2) => Fate::LostBefore,
            true => Fate::LostAfter,
        };
        self.sim.spawn(Node::Outside, async move {
            sim.sleep(delay(&sim)).await;
            if fate == Fate::LostBefore {
                return;
            }
            let result = work(shard).await;
            sim.sleep(delay(&sim)).await;
            if fate == Fate::Answered {
                // Nobody may be waiting.
                let _ = sender.send(result);
            }
        });
        answer.await.map_err(|_| Lost)?
    }

    /// Starts a transaction on a connection of this timeline. Nothing is sent yet.
    #[must_use]
    pub fn begin(&self, timeline: u64) -> Rc<Tx> {
        Rc::new(Tx { shard: self.clone(), timeline, xid: Flag::new(None), phase: Flag::new(Phase::Open) })
    }

    /// Something that others may wait for has changed.
    pub fn notify(&self) {
        self.changed.notify();
    }

    /// Waits until something has changed.
    pub async fn changed(&self) {
        self.changed.changed().await;
    }
}

/// At the server.
impl Tx {
    /// The server it talks to.
    #[must_use]
    pub fn server(&self) -> &RefCell<Server> {
        &self.shard.server
    }

    /// The scheduler.
    #[must_use]
    pub fn sim(&self) -> &Sim {
        &self.shard.sim
    }

    /// # Errors
    /// The server is another one by now, or the transaction was ended.
    pub fn alive(&self) -> Result<(), Lost> {
        let server = self.shard.server.borrow();
        let runs = self.xid.get().is_none_or(|xid| server.is_running(xid));
        if server.timeline == self.timeline && runs && self.phase.get() != Phase::Closed { Ok(()) } else { Err(Lost) }
    }

    /// The transaction's xid; the first call takes one.
    ///
    /// # Errors
    /// As [`Tx::alive`].
    pub fn xid(&self) -> Result<u64, Lost> {
        self.alive()?;
        if let Some(xid) = self.xid.get() {
            return Ok(xid);
        }
        let xid = self.shard.server.borrow_mut().begin();
        self.xid.set(Some(xid));
        Ok(xid)
    }

    /// Takes the row's lock, after waiting for whoever holds it. The xid exists before.
    ///
    /// # Errors
    /// As [`Tx::alive`], at any moment of the wait.
    pub async fn lock(&self, row: RowId) -> Result<(), Lost> {
        loop {
            let xid = self.xid()?;
            if self.shard.server.borrow_mut().try_lock(row, xid).is_some() {
                return Ok(());
            }
            self.shard.changed().await;
        }
    }

    /// Writes a row.
    ///
    /// # Errors
    /// As [`Tx::lock`].
    pub async fn write(&self, row: RowId, cell: Cell) -> Result<(), Lost> {
        self.lock(row).await?;
        let xid = self.xid()?;
        self.shard.server.borrow_mut().change(xid, row, cell);
        Ok(())
    }

    /// Writes the commit record, and some time later shows the commit.
    ///
    /// # Errors
    /// As [`Tx::alive`]; a promotion may come between, and keep the commit or lose it.
    pub async fn commit(&self) -> Result<Outcome, Lost> {
        let xid = self.xid()?;
        let (sim, trouble) = (&self.shard.sim, self.shard.trouble);
        if sim.once_in(trouble.deferred) {
            self.roll_back();
            return Ok(Outcome::Aborted);
        }
        self.shard.server.borrow_mut().log_commit(xid);
        self.shard.notify();
        sim.note("commit record", [xid, self.timeline, 0]);
        if sim.once_in(trouble.gaps) {
            let gap = crate::executor::nanos(trouble.gap);
            sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(..gap)))).await;
        } else {
            sim.sleep(Duration::from_nanos(sim.draw(|random| random.u64(1..20_000)))).await;
        }
        self.alive()?;
        self.shard.server.borrow_mut().show_commit(xid, sim.now());
        sim.note("commit visible", [xid, self.timeline, 0]);
        self.shard.notify();
        Ok(Outcome::Committed)
    }

    /// Rolls back what is still under way.
    pub fn roll_back(&self) {
        let Some(xid) = self.xid.get() else { return };
        if self.alive().is_ok() && !self.shard.server.borrow().is_logged(xid) {
            self.shard.server.borrow_mut().abort(xid);
            self.shard.sim.note("rolled back", [xid, self.timeline, 0]);
            self.shard.notify();
        }
    }
}

/// At the client.
impl Tx {
    /// Sends statements.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn request<T: 'static>(
        self: &Rc<Self>,
        work: impl AsyncFnOnce(&Tx) -> Result<T, Lost> + 'static,
    ) -> Result<T, Lost> {
        let tx = self.clone();
        self.shard.request(async move |_| work(&tx).await).await
    }

    /// Sends COMMIT. From here on, dropping the transaction does not roll it back.
    ///
    /// # Errors
    /// The connection was lost: the outcome is unknown.
    pub async fn send_commit(self: &Rc<Self>) -> Result<Outcome, Lost> {
        self.phase.set(Phase::CommitSent);
        let tx = self.clone();
        let answer = self.shard.request(async move |_| tx.commit().await).await;
        if answer.is_ok() {
            self.phase.set(Phase::Ended);
        }
        answer
    }

    /// The server notices some time later that the connection is gone, and rolls back unless COMMIT has come.
    fn abandon(self: &Rc<Self>) {
        let tx = self.clone();
        let sim = tx.shard.sim.clone();
        sim.clone().spawn(Node::Outside, async move {
            sim.sleep(delay(&sim) * 8).await;
            tx.roll_back();
            if tx.xid.get().is_none_or(|xid| !tx.shard.server.borrow().is_logged(xid)) {
                tx.phase.set(Phase::Closed);
            }
        });
    }
}

/// The client's hold on a transaction. Let go before the client knows its end, the server sees the connection
/// close.
pub struct Hold(pub Rc<Tx>);

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.phase.get() != Phase::Ended {
            self.0.abandon();
        }
    }
}
