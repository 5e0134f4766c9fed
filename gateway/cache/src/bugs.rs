//! The bug bank: deliberate errors, one per cache, for the simulation to find. Compiled for `tests/` alone
//! (`tests/cache-with-bugs`): the gateway has none of it.

use std::sync::{Arc, OnceLock};

/// A deliberate error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bug {
    /// A reader joins any flight.
    AnyFlightJoinable,
    /// A reader joins a flight if no floor rose since it left.
    JoinByFloorUnchanged,
    /// A reader joins a flight without asking for the lease.
    JoinWithoutLease,
    /// The check and the insert are not one: the stamp is taken some time after the check.
    CheckAndInsertApart,
    /// A hit does not compare versions.
    HitUnchecked,
    /// The knowledge that there is no row is served without a look at the floors.
    AbsenceUnchecked,
    /// Neither a hit nor a fill compares epochs.
    EpochUnchecked,
    /// A fill is not compared with the base.
    BaseUnchecked,
    /// Entries stay when a base is taken.
    RebaseKeepsEntries,
    /// What is folded is forgotten.
    FoldingDropped,
    /// A transaction below one that was raised before is not raised: floors ordered as a log would be.
    LowerXidIgnored,
    /// A floor is replaced by the snapshot of any fill, also of one that does not pass.
    WitnessUnchecked,
    /// The newest void is noted when the result has come.
    VoidNotedLate,
    /// A void drops entries and forgets what is under way.
    VoidOfEntriesOnly,
    /// What comes from the shared tier is not compared with floors.
    TierTrusted,
    /// What comes from the shared tier is checked, and stored some time later.
    TierCheckedThenStored,
    /// What comes from the shared tier is not asked whose server it was read from.
    TierLineageIgnored,
    /// What comes from the shared tier counts as read after every void.
    TierVoidsIgnored,
    /// The lease is not asked for when something comes from the shared tier.
    TierWithoutLease,
}

impl Bug {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AnyFlightJoinable,
        Self::JoinByFloorUnchanged,
        Self::JoinWithoutLease,
        Self::CheckAndInsertApart,
        Self::HitUnchecked,
        Self::AbsenceUnchecked,
        Self::EpochUnchecked,
        Self::BaseUnchecked,
        Self::RebaseKeepsEntries,
        Self::FoldingDropped,
        Self::LowerXidIgnored,
        Self::WitnessUnchecked,
        Self::VoidNotedLate,
        Self::VoidOfEntriesOnly,
        Self::TierTrusted,
        Self::TierCheckedThenStored,
        Self::TierLineageIgnored,
        Self::TierVoidsIgnored,
        Self::TierWithoutLease,
    ];
}

/// The error that a cache has. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Chosen(Arc<OnceLock<Bug>>);

impl Chosen {
    /// From here on it has this error. The first choice stays.
    pub fn choose(&self, bug: Bug) {
        self.0.get_or_init(|| bug);
    }

    /// Whether it has this error.
    #[must_use]
    pub fn is(&self, bug: Bug) -> bool {
        self.0.get() == Some(&bug)
    }
}
