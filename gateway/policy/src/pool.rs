//! Warm instances. A call takes one for itself, so nothing waits: where none is warm a new one is made.

use std::{
    cell::Cell,
    collections::HashMap,
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use parking_lot::Mutex;
use tidegate_types::{settings::Isolation, tenant::TenantId};

use crate::guest::Instance;

/// Instances kept by each stack. More than one only when calls of several threads met there.
const PER_STACK: usize = 4;
/// Tenants of whom instances are kept.
const TENANTS: usize = 64;

/// Where the warm instances of a version are.
pub enum Pool {
    /// Anybody's: one stack for about each thread that calls, so that their locks are hardly ever
    /// contended and a thread finds the instance that is in its processor's cache.
    Shared(Box<[Mutex<Vec<Instance>>]>),
    /// One of each tenant.
    PerTenant(Mutex<HashMap<TenantId, Instance>>),
    /// Nobody's: every call makes its own.
    Fresh,
}

impl Pool {
    /// An empty pool for this machine.
    pub fn new(isolation: Isolation) -> Self {
        match isolation {
            Isolation::Shared => {
                let stacks = thread::available_parallelism().map_or(4, NonZeroUsize::get).clamp(1, 32);
                Self::Shared((0..stacks).map(|_| Mutex::new(Vec::with_capacity(PER_STACK))).collect())
            }
            Isolation::PerTenant => Self::PerTenant(Mutex::default()),
            Isolation::Fresh => Self::Fresh,
        }
    }

    /// What instances may be used for.
    pub fn isolation(&self) -> Isolation {
        match self {
            Self::Shared(_) => Isolation::Shared,
            Self::PerTenant(_) => Isolation::PerTenant,
            Self::Fresh => Isolation::Fresh,
        }
    }

    /// How many warm instances are enough to begin with.
    pub fn width(&self) -> usize {
        match self {
            Self::Shared(stacks) => stacks.len(),
            Self::PerTenant(_) | Self::Fresh => 0,
        }
    }

    /// A warm instance that this tenant's call may use.
    pub fn take(&self, tenant: TenantId) -> Option<Instance> {
        match self {
            Self::Shared(stacks) => {
                let own = slot() % stacks.len();
                if let Some(instance) = stacks[own].lock().pop() {
                    return Some(instance);
                }
                let others = stacks.iter().enumerate().filter(|(i, _)| *i != own);
                others.into_iter().find_map(|(_, stack)| stack.try_lock()?.pop())
            }
            Self::PerTenant(kept) => kept.lock().remove(&tenant),
            Self::Fresh => None,
        }
    }

    /// Keeps an instance for later calls; drops it where enough are warm already.
    pub fn put(&self, tenant: TenantId, instance: Instance) {
        match self {
            Self::Shared(stacks) => {
                let mut stack = stacks[slot() % stacks.len()].lock();
                if stack.len() < PER_STACK {
                    stack.push(instance);
                }
            }
            Self::PerTenant(kept) => {
                let mut kept = kept.lock();
                if kept.len() >= TENANTS && !kept.contains_key(&tenant) {
                    // Any: the map's order is as good as random.
                    let other = kept.keys().next().copied();
                    other.and_then(|other| kept.remove(&other));
                }
                kept.insert(tenant, instance);
            }
            Self::Fresh => {}
        }
    }

    /// Puts a first instance onto every stack.
    pub fn fill(&self, instances: Vec<Instance>) {
        if let Self::Shared(stacks) = self {
            for (stack, instance) in stacks.iter().zip(instances) {
                stack.lock().push(instance);
            }
        }
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
