//! When a policy that runs out of time is left alone for a while.
//!
//! Each such call costs a request thread twice the budget; asked again and again, soon every thread would be in one.
//! Whose questions have no end is told apart by tenant, so that one that makes a policy loop does not keep the others
//! from asking. Where nothing classifies, and in classification itself, all questions are of one tenant.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tidegate_types::tenant::TenantId;

/// Tenants told apart: more share a place. Each place that is left alone costs a call a second.
const PLACES: usize = 64;
/// How many calls in a row must run out of time.
const TRIPS_AFTER: u32 = 4;
/// How long it is left alone, in milliseconds.
const LEFT_ALONE_MS: u64 = 1000;

/// What is left of the patience with a version, by tenant.
pub struct Patience([Place; PLACES]);

#[derive(Default)]
struct Place {
    deadlines_in_a_row: AtomicU32,
    left_alone_until_ms: AtomicU64,
}

impl Patience {
    /// All of it.
    pub fn new() -> Self {
        Self(
            [const { Place { deadlines_in_a_row: AtomicU32::new(0), left_alone_until_ms: AtomicU64::new(0) } }; PLACES],
        )
    }

    /// Whether questions of this tenant are not to be asked now.
    pub fn is_over(&self, tenant: TenantId, now_ms: u64) -> bool {
        let place = self.place(tenant);
        place.deadlines_in_a_row.load(Ordering::Relaxed) >= TRIPS_AFTER
            && now_ms < place.left_alone_until_ms.load(Ordering::Relaxed)
    }

    /// A call ran out of time.
    pub fn lose(&self, tenant: TenantId, now_ms: u64) {
        let place = self.place(tenant);
        place.left_alone_until_ms.store(now_ms + LEFT_ALONE_MS, Ordering::Relaxed);
        place.deadlines_in_a_row.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ended in time, however it ended.
    pub fn regain(&self, tenant: TenantId) {
        let place = self.place(tenant);
        if place.deadlines_in_a_row.load(Ordering::Relaxed) > 0 {
            place.deadlines_in_a_row.store(0, Ordering::Relaxed);
        }
    }

    fn place(&self, tenant: TenantId) -> &Place {
        let place = usize::try_from(tenant.0 % PLACES as u64).unwrap_or(0);
        &self.0[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: TenantId = TenantId(1);
    const BOLT: TenantId = TenantId(2);

    #[test]
    fn a_policy_that_keeps_running_out_of_time_is_left_alone_until_it_answers() {
        let patience = Patience::new();
        for _ in 0..TRIPS_AFTER {
            assert!(!patience.is_over(ACME, 0));
            patience.lose(ACME, 0);
        }
        assert!(patience.is_over(ACME, LEFT_ALONE_MS - 1));
        assert!(!patience.is_over(ACME, LEFT_ALONE_MS), "it gets another try");
        patience.lose(ACME, LEFT_ALONE_MS);
        assert!(patience.is_over(ACME, LEFT_ALONE_MS), "and only one");
        patience.regain(ACME);
        assert!(!patience.is_over(ACME, LEFT_ALONE_MS));
    }

    #[test]
    fn one_tenants_endless_questions_do_not_keep_another_from_asking() {
        let patience = Patience::new();
        for _ in 0..TRIPS_AFTER {
            patience.lose(ACME, 0);
            patience.regain(BOLT);
        }
        assert!(patience.is_over(ACME, 1) && !patience.is_over(BOLT, 1));
    }
}
