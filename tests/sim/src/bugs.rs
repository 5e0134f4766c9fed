//! The bug bank: deliberate errors, one per run. A harness that does not find them proves nothing by finding
//! nothing.

pub use tidegate_cache_with_bugs::bugs::Bug as InCache;

use crate::shape::Focus;

/// A deliberate error in what a gateway does around its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bug {
    /// The write raises no floor at all.
    NoFloor,
    /// The floor of another key is raised.
    FloorOfAnotherKey,
    /// FLOOR is sent after COMMIT.
    FloorAfterCommit,
    /// COMMIT does not wait for the acknowledgements.
    NoWaitForAcknowledgements,
    /// The writer's own gateway gets no FLOOR.
    OwnGatewaySkipped,
    /// The members are read before the transaction has its xid.
    MembersBeforeXid,
    /// What RETURNING gave is cached after COMMIT, with a snapshot of then.
    ReturningCached,
    /// What RETURNING gave is cached before COMMIT, with a snapshot that "sees" its own transaction.
    UncommittedCached,
    /// A fill counts as seeing whatever has its commit record in the log.
    FloorsByLsn,
    /// A fill's snapshot is taken by a statement after the one that read the row.
    SnapshotAfterRow,
    /// Running transactions below `xmax` are taken for finished.
    RunningIgnored,
    /// A fill counts as seeing what is not above the row's `xmin`.
    JudgedByRowXmin,
    /// A fill is stored without being compared with floors.
    FillUnchecked,
    /// A promotion is not noticed.
    EpochIgnored,
    /// Writers on a promoted primary do not wait for leases of the old one.
    NoWaitAfterPromotion,
    /// A gateway that joins trusts any snapshot.
    NoBaseAtJoin,
    /// A gateway that joins again goes on as if nothing had been.
    NoBaseAtRejoin,
    /// The base is the join's own `xmax - 1` instead of an xid taken afterwards.
    BaseFromJoinSnapshot,
    /// Joining starts an epoch of its own, so floors that came meanwhile are dropped.
    FloorsForgottenAtJoin,
    /// A gateway that joins again takes a base for new fills, and keeps its entries.
    EntriesKeptAtRejoin,
    /// The lease is not asked for.
    LeaseUnchecked,
    /// The lease is a flag that a timer clears.
    LeaseFlagByTimer,
    /// The lease is counted from the reply to a renewal.
    LeaseFromReply,
    /// A renewal under way takes up a lease that was given up meanwhile.
    RenewalUndoesLeave,
    /// A late order to leave fences the gateway's next membership.
    LeavesAnyIncarnation,
    /// A member whose expiry has passed is skipped without being fenced.
    ExpirySkippedUnfenced,
    /// A member is skipped when the expiry that was read first has passed.
    FirstExpiryWaited,
    /// A purge does not reach other gateways.
    VoidNotTold,
    /// A purge does not reach the gateway that was asked for it.
    VoidOwnGatewaySkipped,
    /// A write whose floors belong to an epoch that is over is committed.
    EpochOverCommitted,
    /// How much a standby has replayed is asked after the row was read.
    StandbyLsnAfterRow,
    /// What a standby gave is judged by the standby's snapshot.
    StandbyByXid,
    /// A gateway that joins keeps what a standby gives that has replayed the join.
    StandbyFloorFromJoin,
    /// What a standby gave is kept while a commit's place in the log is not known.
    StandbyUnresolvedIgnored,
    /// An error inside the cache.
    Cache(InCache),
}

impl Bug {
    /// The runs in which it shows.
    #[must_use]
    pub fn focus(self) -> Focus {
        match self {
            Self::EpochIgnored | Self::Cache(InCache::EpochUnchecked | InCache::TierLineageIgnored) => Focus::Alone,
            Self::NoWaitAfterPromotion => Focus::Promotions,
            Self::EpochOverCommitted => Focus::Epochs,
            Self::StandbyLsnAfterRow
            | Self::StandbyByXid
            | Self::StandbyFloorFromJoin
            | Self::StandbyUnresolvedIgnored => Focus::Standbys,
            Self::MembersBeforeXid
            | Self::NoBaseAtRejoin
            | Self::BaseFromJoinSnapshot
            | Self::FloorsForgottenAtJoin
            | Self::EntriesKeptAtRejoin
            | Self::Cache(
                InCache::JoinWithoutLease
                | InCache::BaseUnchecked
                | InCache::RebaseKeepsEntries
                | InCache::TierWithoutLease,
            )
            | Self::LeaseUnchecked
            | Self::LeaseFlagByTimer
            | Self::LeaseFromReply
            | Self::RenewalUndoesLeave
            | Self::LeavesAnyIncarnation
            | Self::ExpirySkippedUnfenced
            | Self::FirstExpiryWaited => Focus::Members,
            _ => Focus::Any,
        }
    }

    /// All of them: around the cache, then inside it.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::AROUND.iter().copied().chain(Self::inside())
    }

    /// Those inside the cache.
    pub fn inside() -> impl Iterator<Item = Self> {
        InCache::ALL.iter().copied().map(Self::Cache)
    }

    /// Those around the cache.
    pub const AROUND: &[Self] = &[
        Self::NoFloor,
        Self::FloorOfAnotherKey,
        Self::FloorAfterCommit,
        Self::NoWaitForAcknowledgements,
        Self::OwnGatewaySkipped,
        Self::MembersBeforeXid,
        Self::ReturningCached,
        Self::UncommittedCached,
        Self::FloorsByLsn,
        Self::SnapshotAfterRow,
        Self::RunningIgnored,
        Self::JudgedByRowXmin,
        Self::FillUnchecked,
        Self::EpochIgnored,
        Self::NoWaitAfterPromotion,
        Self::NoBaseAtJoin,
        Self::NoBaseAtRejoin,
        Self::BaseFromJoinSnapshot,
        Self::FloorsForgottenAtJoin,
        Self::EntriesKeptAtRejoin,
        Self::LeaseUnchecked,
        Self::LeaseFlagByTimer,
        Self::LeaseFromReply,
        Self::RenewalUndoesLeave,
        Self::LeavesAnyIncarnation,
        Self::ExpirySkippedUnfenced,
        Self::FirstExpiryWaited,
        Self::VoidNotTold,
        Self::VoidOwnGatewaySkipped,
        Self::EpochOverCommitted,
        Self::StandbyLsnAfterRow,
        Self::StandbyByXid,
        Self::StandbyFloorFromJoin,
        Self::StandbyUnresolvedIgnored,
    ];
}
