//! A seeded scheduler on one thread: simulated time, tasks that belong to nodes, nodes that pause and crash.
//!
//! Whichever ready task runs next is drawn at random; when none is ready, time jumps to the next timer. A paused
//! node's tasks are not run while time goes on. Tokio's clock, which the code under test asks, is paused and
//! follows. Nothing else decides anything: the same seed gives the same run, and its hash says so.

use std::{
    cell::{Cell, RefCell},
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::trace::Trace;

/// Where a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// Clients, databases, the network: never pauses.
    Outside,
    /// A gateway process.
    Gateway(u8),
}

/// The node crashed, or the message was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Ready = Arc<Mutex<BTreeSet<u64>>>;

/// The scheduler. Clones share it.
#[derive(Clone)]
pub struct Sim(Rc<Inner>);

struct Inner {
    tasks: RefCell<BTreeMap<u64, (Node, Option<Task>)>>,
    ready: Ready,
    timers: RefCell<BinaryHeap<Reverse<(u64, u64)>>>,
    sleepers: RefCell<BTreeMap<u64, Waker>>,
    paused: RefCell<BTreeSet<Node>>,
    /// Nanoseconds. Shared with what the code under test asks for the time.
    now: Arc<AtomicU64>,
    next: Cell<u64>,
    ticks: Cell<u64>,
    random: RefCell<fastrand::Rng>,
    trace: RefCell<Trace>,
}

struct TaskWaker {
    task: u64,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.task);
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The condition came true.
    Done,
    /// No task can ever run again.
    Stuck,
    /// The steps were used up.
    Exhausted,
}

impl Sim {
    /// A scheduler of this seed that keeps its trace in words if `trace` does.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        // What the code under test draws at random, on this thread.
        fastrand::seed(seed);
        Self(Rc::new(Inner {
            tasks: RefCell::default(),
            ready: Ready::default(),
            timers: RefCell::default(),
            sleepers: RefCell::default(),
            paused: RefCell::default(),
            now: Arc::new(AtomicU64::new(0)),
            next: Cell::new(0),
            ticks: Cell::new(0),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            trace: RefCell::new(trace),
        }))
    }

    /// Runs `main` and what it spawns until it ends.
    pub fn run(&self, steps: u64, main: impl Future<Output = ()> + 'static) -> Ended {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap_or_else(|error| unreachable!("a runtime without I/O needs nothing: {error}"));
        let done = Rc::new(Cell::new(false));
        let flag = done.clone();
        self.spawn(Node::Outside, async move {
            main.await;
            flag.set(true);
        });
        let ended = runtime.block_on(async {
            for _ in 0..steps {
                if !self.step().await {
                    return Ended::Stuck;
                }
                if done.get() {
                    return Ended::Done;
                }
            }
            Ended::Exhausted
        });
        // Tasks hold the scheduler, and it them.
        let _guard = runtime.enter();
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
        let late = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(late);
        ended
    }

    async fn step(&self) -> bool {
        if let Some(task) = self.choose() {
            self.poll(task);
            return true;
        }
        let Some(Reverse((at, sleeper))) = self.0.timers.borrow_mut().pop() else { return false };
        let now = self.0.now.load(Ordering::Relaxed);
        if at > now {
            tokio::time::advance(Duration::from_nanos(at - now)).await;
            self.0.now.store(at, Ordering::Relaxed);
        }
        if let Some(waker) = self.0.sleepers.borrow_mut().remove(&sleeper) {
            waker.wake();
        }
        true
    }

    fn choose(&self) -> Option<u64> {
        let mut ready = self.0.ready.lock();
        let tasks = self.0.tasks.borrow();
        ready.retain(|task| tasks.contains_key(task));
        let paused = self.0.paused.borrow();
        let runs = |task: &&u64| tasks.get(*task).is_some_and(|(node, _)| !paused.contains(node));
        let count = ready.iter().filter(runs).count();
        let task = match count {
            0 => return None,
            1 => *ready.iter().find(runs)?,
            _ => *ready.iter().filter(runs).nth(self.0.random.borrow_mut().usize(..count))?,
        };
        ready.remove(&task);
        Some(task)
    }

    fn poll(&self, id: u64) {
        let Some(mut task) = self.0.tasks.borrow_mut().get_mut(&id).and_then(|(_, task)| task.take()) else { return };
        self.note("step", [id, 0, 0]);
        let waker = Waker::from(Arc::new(TaskWaker { task: id, ready: self.0.ready.clone() }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.0.tasks.borrow_mut().remove(&id);
        } else if let Some((_, place)) = self.0.tasks.borrow_mut().get_mut(&id) {
            *place = Some(task);
        }
    }

    /// Starts a task.
    pub fn spawn(&self, node: Node, task: impl Future<Output = ()> + 'static) {
        let id = self.number();
        self.0.tasks.borrow_mut().insert(id, (node, Some(Box::pin(task))));
        self.0.ready.lock().insert(id);
    }

    /// Runs something on another node and waits for what it gives.
    ///
    /// # Errors
    /// The node crashed before.
    pub async fn call<T: 'static>(&self, node: Node, task: impl Future<Output = T> + 'static) -> Result<T, Gone> {
        let (sender, result) = oneshot::channel();
        self.spawn(node, async move {
            // The caller may be gone.
            let _ = sender.send(task.await);
        });
        result.await.map_err(|_| Gone)
    }

    /// Waits for this long.
    pub async fn sleep(&self, delay: Duration) {
        let at = self.now().saturating_add(nanos(delay));
        let id = self.number();
        self.0.timers.borrow_mut().push(Reverse((at, id)));
        let _forget = Sleeper { sim: self, id };
        poll_fn(|context| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            self.0.sleepers.borrow_mut().insert(id, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// `Some` if it ends within this time.
    pub async fn timeout<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let mut limit = std::pin::pin!(self.sleep(limit));
        poll_fn(|context| {
            if let Poll::Ready(value) = work.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            limit.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// Runs nothing of the node until [`Sim::resume`].
    pub fn pause(&self, node: Node) {
        self.0.paused.borrow_mut().insert(node);
    }

    /// Ends a pause.
    pub fn resume(&self, node: Node) {
        self.0.paused.borrow_mut().remove(&node);
    }

    /// Ends every task of a node at once.
    pub fn crash(&self, node: Node) {
        self.resume(node);
        let mut tasks = self.0.tasks.borrow_mut();
        let gone: Vec<u64> = tasks.iter().filter(|(_, (of, _))| *of == node).map(|(id, _)| *id).collect();
        let gone: Vec<_> = gone.iter().map(|id| tasks.remove(id)).collect();
        drop(tasks);
        // Dropping a task may start another.
        drop(gone);
    }

    /// Nanoseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }

    /// The clock, for what must be `Send`.
    #[must_use]
    pub fn clock(&self) -> Arc<AtomicU64> {
        self.0.now.clone()
    }

    /// A moment of its own, later than every one before.
    #[must_use]
    pub fn tick(&self) -> Duration {
        self.0.ticks.set(self.0.ticks.get() + 1);
        Duration::from_nanos(self.0.ticks.get())
    }

    /// Draws at random.
    pub fn draw<T>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        draw(&mut self.0.random.borrow_mut())
    }

    /// Whether a thing happens that does once in `times`.
    #[must_use]
    pub fn once_in(&self, times: u32) -> bool {
        times > 0 && self.draw(|random| random.u32(..times)) == 0
    }

    /// Writes into the trace.
    pub fn note(&self, what: &'static str, values: [u64; 3]) {
        self.0.trace.borrow_mut().add(self.now(), what, values);
    }

    /// The trace's hash, and the trace if it was kept.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.0.trace.borrow().clone()
    }

    /// A number that was not given before.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.next.set(self.0.next.get() + 1);
        self.0.next.get()
    }
}

struct Sleeper<'a> {
    sim: &'a Sim,
    id: u64,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.sim.0.sleepers.borrow_mut().remove(&self.id);
    }
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Wakes all who wait whenever something has changed.
#[derive(Clone, Default)]
pub struct Signal(Rc<(Cell<u64>, RefCell<Vec<Waker>>)>);

impl Signal {
    /// Something has changed.
    pub fn notify(&self) {
        self.0.0.set(self.0.0.get() + 1);
        self.0.1.take().into_iter().for_each(Waker::wake);
    }

    /// Waits for the next change.
    pub async fn changed(&self) {
        let before = self.0.0.get();
        poll_fn(|context| {
            if self.0.0.get() != before {
                return Poll::Ready(());
            }
            self.0.1.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
