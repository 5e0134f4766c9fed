//! Warm instances. A call takes one for itself, so nothing waits: where none is warm a new one is made.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;

use crate::guest::Instance;

/// Instances kept by each stack. More than one only when calls of several threads met there.
const PER_STACK: usize = 4;

/// Stacks of warm instances, about one for each thread that calls, so that their locks are hardly
/// ever contended and a thread finds the instance that is in its processor's cache.
pub struct Pool {
    stacks: Box<[Mutex<Vec<Instance>>]>,
}

impl Pool {
    /// An empty pool for this machine.
    pub fn new() -> Self {
        let stacks = thread::available_parallelism().map_or(4, NonZeroUsize::get).clamp(1, 32);
        Self { stacks: (0..stacks).map(|_| Mutex::new(Vec::with_capacity(PER_STACK))).collect() }
    }

    /// How many stacks there are: enough warm instances to begin with.
    pub fn width(&self) -> usize {
        self.stacks.len()
    }

    /// A warm instance, of this thread's stack if there is one, else of any stack that is free.
    pub fn take(&self) -> Option<Instance> {
        let own = self.own();
        if let Some(instance) = self.stacks[own].lock().pop() {
            return Some(instance);
        }
        self.others(own).find_map(|stack| stack.try_lock()?.pop())
    }

    /// Keeps an instance for later calls; drops it where enough are warm already.
    pub fn put(&self, instance: Instance) {
        let mut stack = self.stacks[self.own()].lock();
        if stack.len() < PER_STACK {
            stack.push(instance);
        }
    }

    /// Puts a first instance onto every stack.
    pub fn fill(&self, instances: Vec<Instance>) {
        for (stack, instance) in self.stacks.iter().zip(instances) {
            stack.lock().push(instance);
        }
    }

    fn own(&self) -> usize {
        slot() % self.stacks.len()
    }

    fn others(&self, own: usize) -> impl Iterator<Item = &Mutex<Vec<Instance>>> {
        self.stacks.iter().enumerate().filter(move |(i, _)| *i != own).map(|(_, stack)| stack)
    }
}

/// A number of the calling thread: threads are numbered as they first ask.
fn slot() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SLOT: Cell<Option<usize>> = const { Cell::new(None) };
    }
    SLOT.with(|slot| {
        slot.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            slot.set(Some(number));
            number
        })
    })
}
