//! What this process saw of the members, and when by its own clock.
//!
//! A member may be fenced when its row has shown the same beat for a whole lease: it counted its lease from
//! before the renewal that wrote the beat was sent, which was before anybody saw it. Nothing here depends on
//! what the databases' clocks say.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidegate_types::{epoch::Epoch, member::Member, route::ShardId};

use crate::clock::Moment;

/// Members remembered per shard.
const MOST: usize = 1024;

/// What was seen, per shard.
#[derive(Debug)]
pub(crate) struct Sightings(Box<[Mutex<OfShard>]>);

#[derive(Debug, Default)]
struct OfShard {
    /// The newest epoch, and when it was first seen.
    epoch: Option<(Epoch, Moment)>,
    /// The longest lease of anybody.
    longest: Duration,
    members: HashMap<Arc<str>, Sighting>,
}

#[derive(Debug, Clone)]
struct Sighting {
    member: Member,
    since: Moment,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unfenced,
    /// In this incarnation, and committed.
    Fenced,
}

/// What may be done about a member that does not acknowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was fenced in this incarnation, or has joined in a later one.
    Over,
    /// It may be fenced, by the row as it was seen last, from that moment on.
    FenceAt(Moment, Member),
}

impl Sightings {
    pub(crate) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| Mutex::default()).collect())
    }

    fn of(&self, shard: ShardId) -> Option<&Mutex<OfShard>> {
        self.0.get(usize::from(shard.0))
    }

    /// Notes that the shard shows this epoch. Gives the moment from which on no lease of an earlier epoch can
    /// hold: rows of members may have been lost with it, so that writers must wait until then.
    pub(crate) fn settled(&self, shard: ShardId, epoch: Epoch, own: Duration, now: Moment) -> Moment {
        let Some(of) = self.of(shard) else { return now };
        let mut of = of.lock();
        of.longest = of.longest.max(own);
        let known = of.epoch.filter(|(known, _)| *known >= epoch);
        let (_, since) = known.unwrap_or_else(|| {
            // What was seen before says nothing: a crash may have taken beats back.
            of.members.clear();
            (epoch, now)
        });
        of.epoch = known.or(Some((epoch, now)));
        since.after(of.longest)
    }

    /// Notes a row that was read before `now`, at this epoch.
    pub(crate) fn saw(&self, shard: ShardId, epoch: Epoch, member: &Member, now: Moment) {
        let Some(of) = self.of(shard) else { return };
        let mut of = of.lock();
        if of.epoch.is_some_and(|(known, _)| known != epoch) {
            return;
        }
        of.longest = of.longest.max(member.lease);
        let newer = of
            .members
            .get(&member.id)
            .is_none_or(|seen| (seen.member.incarnation, seen.member.beat) < (member.incarnation, member.beat));
        if newer {
            if of.members.len() >= MOST {
                of.members.retain(|_, seen| seen.state == State::Unfenced);
            }
            // A row that comes back in the incarnation it was fenced in cannot be: fenced rows are not renewed.
            let sighting = Sighting { member: member.clone(), since: now, state: State::Unfenced };
            of.members.insert(member.id.clone(), sighting);
        }
    }

    /// Notes a row that was read just now, because its holder could not be fenced.
    pub(crate) fn alive(&self, shard: ShardId, member: &Member, now: Moment) {
        let epoch = self.of(shard).and_then(|of| of.lock().epoch);
        if let Some((epoch, _)) = epoch {
            self.saw(shard, epoch, member, now);
        }
    }

    /// Notes that a member is fenced, left, or has joined anew.
    pub(crate) fn over(&self, shard: ShardId, member: &Member) {
        let Some(of) = self.of(shard) else { return };
        if let Some(seen) = of.lock().members.get_mut(&member.id)
            && seen.member.incarnation == member.incarnation
        {
            seen.state = State::Fenced;
        }
    }

    /// How it stands with a member whose row was seen.
    pub(crate) fn standing(&self, shard: ShardId, member: &Member, now: Moment) -> Standing {
        let seen = self.of(shard).and_then(|of| of.lock().members.get(&member.id).cloned());
        match seen {
            Some(Sighting { member: seen, .. }) if seen.incarnation > member.incarnation => Standing::Over,
            Some(Sighting { member: seen, state: State::Fenced, .. }) if seen.incarnation == member.incarnation => {
                Standing::Over
            }
            Some(Sighting { member: seen, since, .. }) if seen.incarnation == member.incarnation => {
                Standing::FenceAt(since.after(seen.lease), seen)
            }
            _ => Standing::FenceAt(now.after(member.lease), member.clone()),
        }
    }

    /// Forgets who is not among these.
    pub(crate) fn keep(&self, shard: ShardId, members: &[Member]) {
        if let Some(of) = self.of(shard) {
            of.lock().members.retain(|id, _| members.iter().any(|member| member.id == *id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);
    const LEASE: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }

    fn member(incarnation: i64, beat: i64) -> Member {
        Member { id: "a".into(), incarnation, beat, lease: LEASE, address: "here:1".into() }
    }

    fn seen(epoch: Epoch) -> Sightings {
        let sightings = Sightings::new(1);
        sightings.settled(SHARD, epoch, LEASE, at(100));
        sightings.saw(SHARD, epoch, &member(1, 5), at(100));
        sightings
    }

    #[test]
    fn a_member_may_be_fenced_a_lease_after_its_beat_was_first_seen() {
        let sightings = seen(Epoch(1));
        sightings.saw(SHARD, Epoch(1), &member(1, 5), at(900));
        assert_eq!(sightings.standing(SHARD, &member(1, 5), at(950)), Standing::FenceAt(at(1100), member(1, 5)));
        sightings.saw(SHARD, Epoch(1), &member(1, 6), at(1000));
        sightings.saw(SHARD, Epoch(1), &member(1, 5), at(1050));
        let standing = sightings.standing(SHARD, &member(1, 5), at(1200));
        assert_eq!(standing, Standing::FenceAt(at(2000), member(1, 6)), "what was read late counts for nothing");
    }

    #[test]
    fn a_later_incarnation_and_a_fenced_one_are_over() {
        let sightings = seen(Epoch(1));
        sightings.over(SHARD, &member(1, 5));
        assert_eq!(sightings.standing(SHARD, &member(1, 2), at(200)), Standing::Over);
        sightings.saw(SHARD, Epoch(1), &member(2, 0), at(300));
        assert_eq!(sightings.standing(SHARD, &member(1, 5), at(300)), Standing::Over);
        assert_eq!(sightings.standing(SHARD, &member(2, 0), at(300)), Standing::FenceAt(at(1300), member(2, 0)));
    }

    #[test]
    fn a_new_epoch_forgets_beats_and_makes_writers_wait() {
        let sightings = seen(Epoch(1));
        assert_eq!(sightings.settled(SHARD, Epoch(1), LEASE, at(5000)), at(1100));
        assert_eq!(sightings.settled(SHARD, Epoch(2), LEASE, at(6000)), at(7000));
        assert_eq!(sightings.settled(SHARD, Epoch(1), LEASE, at(6100)), at(7000), "a straggler");
        sightings.saw(SHARD, Epoch(1), &member(1, 5), at(6100));
        let standing = sightings.standing(SHARD, &member(1, 5), at(6200));
        assert_eq!(standing, Standing::FenceAt(at(7200), member(1, 5)));
    }

    #[test]
    fn the_longest_lease_counts_after_a_promotion() {
        let sightings = seen(Epoch(1));
        sightings.saw(SHARD, Epoch(1), &Member { lease: LEASE * 5, ..member(1, 6) }, at(200));
        assert_eq!(sightings.settled(SHARD, Epoch(2), LEASE, at(6000)), at(11_000));
    }
}
