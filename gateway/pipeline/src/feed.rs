//! Obeys the shards' change feeds: what was changed outside becomes floors, here as in a write through the gateway.
//!
//! A transaction that a gateway made is told too. Its floors were raised before it committed, so hearing of it
//! voids nothing that was read after it ([`tidegate_cache::Cache::hear`]); the invalidation policy was asked then
//! and is not asked again; and what the feed does not tell of the rows it wrote, that gateway knew (`made`).

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tidegate_cluster::table::Buckets;
use tidegate_policy::Session;
use tidegate_store::feed::{
    Changed, Changes, FeedEvent, FeedHealth, FeedTable, FeedTables, FlushReason, RowChange, Told, Transaction, Watched,
};
use tidegate_types::{
    bucket::BucketId,
    collection::{Collection, Collections},
    epoch::Epoch,
    policy::{Change, ChangeKind, Who},
    route::ShardId,
    snapshot::Xid,
};
use tokio::sync::{Notify, mpsc, watch};

use crate::{
    Gateway,
    gateway::Shared,
    invalidate::{self, About, Again, Purges},
    monitor::metrics::Source,
    refresh,
    serving::{Edition, Live},
    touch::all,
};

mod made;
pub(crate) mod relay;
mod sample;
mod touched;

pub(crate) use made::Asked;
use made::Made;
use relay::{Item, Teller};
use touched::of_table;

/// Tenants that an invalidation policy is asked about, one by one; of more, everything tagged is voided.
const MOST_TENANTS: usize = 32;
/// Events obeyed before the other gateways are told of them.
const BATCH: usize = 64;
/// How often the wanted columns are looked at: another version of a policy may declare others.
const LOOK: Duration = Duration::from_millis(500);

/// How old what is known of a shard's changes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedAge {
    /// Changes made outside are not followed.
    Off,
    /// They are, and up to when is not known.
    Unknown,
    /// Every change is known that was committed up to this long ago.
    Known(Duration),
}

/// What the feeds leave with the gateway.
#[derive(Debug)]
pub(crate) struct Feeds {
    /// By shard; empty where changes are not followed.
    healths: OnceLock<Box<[FeedHealth]>>,
    tables: watch::Sender<FeedTables>,
    /// By shard.
    made: Box<[Made]>,
    /// The newest transaction that was told, by shard.
    newest: Box<[Newest]>,
    /// Of other gateways' feeds.
    heard: relay::Heard,
    /// Something was flushed: tables may have been altered.
    doubted: Notify,
}

/// The newest transaction that a shard's feed told of.
type Newest = Mutex<Option<(Epoch, Xid)>>;

impl Feeds {
    pub(crate) fn new(shards: usize) -> Self {
        let tables: FeedTables = Arc::new([]);
        let made = (0..shards).map(|_| Made::default()).collect();
        let newest = (0..shards).map(|_| Mutex::default()).collect();
        Self {
            healths: OnceLock::new(),
            tables: watch::channel(tables).0,
            made,
            newest,
            heard: relay::Heard::default(),
            doubted: Notify::new(),
        }
    }

    fn health(&self, shard: ShardId) -> Option<&FeedHealth> {
        self.healths.get()?.get(usize::from(shard.0))
    }

    /// Remembers a transaction that a gateway made and what it raised, as far as `raised` wants it remembered. Before
    /// its COMMIT.
    pub(crate) fn made(
        &self,
        shard: ShardId,
        epoch: Epoch,
        xid: Xid,
        asked: Asked,
        raised: impl FnOnce() -> Vec<BucketId>,
    ) {
        let (Some(made), Some(_)) = (self.made.get(usize::from(shard.0)), self.healths.get()) else { return };
        let raised = raised();
        if asked == Asked::Policy || !raised.is_empty() {
            made.add(epoch, xid, asked, raised);
        }
    }

    /// Notes that a transaction is told, and takes what is served, in one step: if that is replaced, the transaction
    /// is either obeyed by what is served afterwards, or known to whoever then asks for the newest one.
    fn noting(&self, shard: ShardId, epoch: Epoch, xid: Xid, live: &Live) -> Arc<Edition> {
        let Some(newest) = self.newest.get(usize::from(shard.0)) else { return live.hold() };
        let mut newest = newest.lock();
        // Ids do not come in their order.
        *newest = Some((epoch, newest.filter(|(of, _)| *of == epoch).map_or(xid, |(_, newest)| newest.max(xid))));
        live.hold()
    }

    /// The newest transaction that was told.
    fn newest(&self, shard: ShardId) -> Option<(Epoch, Xid)> {
        *self.newest.get(usize::from(shard.0))?.lock()
    }

    /// How old what is known of a shard's changes is.
    pub(crate) fn age(&self, shard: ShardId) -> FeedAge {
        match self.health(shard) {
            None => FeedAge::Off,
            Some(health) => health.age().map_or(FeedAge::Unknown, FeedAge::Known),
        }
    }

    /// Follows these tables. Until that is so, no feed says how old it is.
    pub(crate) fn follow(&self, collections: &Collections, session: &Session) {
        let tables = tables(collections, session.invalidation().unwrap_or_default());
        let changed = |now: &mut FeedTables| {
            let differs = *now != tables;
            if differs {
                self.healths.get().into_iter().flatten().for_each(FeedHealth::doubt);
                *now = tables;
            }
            differs
        };
        self.tables.send_if_modified(changed);
    }
}

impl Gateway {
    /// The tables to be followed, now and as they change.
    #[must_use]
    pub fn feed_tables(&self) -> watch::Receiver<FeedTables> {
        self.0.feeds.follow(&self.collections(), &self.0.policies.session());
        self.0.feeds.tables.subscribe()
    }

    /// Tells how the feeds are, by shard. Only the first call counts.
    pub fn follow_by(&self, healths: Vec<FeedHealth>) {
        if self.0.feeds.healths.set(healths.into()).is_err() {
            tracing::error!("the change feeds were told of twice");
        }
    }

    /// How old what is known of a shard's changes is.
    #[must_use]
    pub fn feed_age(&self, shard: ShardId) -> FeedAge {
        self.0.feeds.age(shard)
    }

    /// Waits until tables may have been altered since the last call returned. One task does.
    pub async fn tables_doubted(&self) {
        self.0.feeds.doubted.notified().await;
    }

    /// Obeys a shard's feed until it ends.
    pub async fn obey(&self, shard: ShardId, mut events: mpsc::Receiver<Told>, health: FeedHealth) {
        let mut teller = Teller::new(self.0.topology.name(shard));
        let mut batch = Vec::with_capacity(BATCH);
        while events.recv_many(&mut batch, BATCH).await > 0 {
            let mut epoch = Epoch(0);
            for told in batch.drain(..) {
                if told.epoch != epoch {
                    teller.flush(&self.0, shard, epoch);
                    epoch = told.epoch;
                }
                obey(&self.0, shard, &told, &health, &mut teller);
            }
            teller.flush(&self.0, shard, epoch);
        }
    }

    /// Keeps the followed tables up to date with what policies declare. Never ends.
    pub async fn keep_following(&self) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            self.0.feeds.follow(&self.collections(), &self.0.policies.session());
        }
    }
}

/// What of a transaction's buckets is to be remembered: all, where its feed may not tell what it raised them for.
pub(crate) fn remembered(collections: &Collections, raised: &[BucketId]) -> Vec<BucketId> {
    let tracked = collections.iter().any(|collection| !collection.track.is_empty());
    if tracked { raised.to_vec() } else { Vec::new() }
}

/// To be called after other collections were served: where they tell lists apart by values that those before did not,
/// nobody knows which values the transactions were about that the feeds told of until now. Some of them may not be
/// visible yet, so a list that is read now could lack them and be kept. Whatever is kept from here on sees them all.
pub(crate) fn forget_values(shared: &Shared, before: &Collections, now: &Collections) {
    let is_new = |collection: &&Arc<Collection>| !collection.track.is_empty() && before.by_id(collection.id).is_none();
    if !now.iter().any(|collection| is_new(&collection)) {
        return;
    }
    for shard in shared.topology.all() {
        // After the replacement: what is told later is obeyed by the collections of now.
        if let Some((epoch, newest)) = shared.feeds.newest(shard)
            && shared.cache.rebase(shard, epoch, newest).is_err()
        {
            tracing::debug!(shard = shared.topology.name(shard), "another epoch has begun, which takes its own base");
        }
    }
}

/// The tables of these collections, with the columns that are tracked or that somebody declared.
#[must_use]
pub fn tables(collections: &Collections, declared: &[Arc<str>]) -> FeedTables {
    let mut tables: BTreeMap<&str, FeedTable> = BTreeMap::new();
    for collection in collections.iter() {
        let table = tables.entry(&collection.relation).or_insert_with(|| FeedTable {
            relation: collection.relation.clone(),
            key: collection.key_columns().map(|column| column.name.clone()).collect(),
            watched: Vec::new(),
        });
        let declared = declared.iter().filter(|name| collection.column(name).is_some());
        for name in declared.chain(collection.track.iter().map(|tracked| &tracked.name)) {
            if !table.watched.iter().any(|watched| **watched == **name) {
                table.watched.push(name.to_string());
            }
        }
    }
    tables.into_values().map(Arc::new).collect()
}

fn obey(shared: &Arc<Shared>, shard: ShardId, told: &Told, health: &FeedHealth, teller: &mut Teller) {
    let mut tell = |item| teller.tell(shared, shard, told.epoch, &item);
    match &told.event {
        FeedEvent::Transaction(transaction) => changed(shared, shard, told.epoch, transaction, tell),
        // What an epoch that is over told last says nothing of the one that began: it begins with a flush.
        FeedEvent::Heartbeat(beat) if told.epoch == shared.store.epoch(shard) => {
            health.returned(*beat);
            tell(Item::Beat(*beat));
        }
        FeedEvent::Heartbeat(_) => {}
        FeedEvent::Flush { base, why, settles } => {
            tracing::warn!(
                shard = shared.topology.name(shard),
                why = why.as_str(),
                "changes made outside may have been missed: everything kept of the shard is void"
            );
            // An epoch that began meanwhile voids everything by itself, and takes its own base.
            if shared.cache.rebase(shard, told.epoch, *base).is_ok() {
                health.settle(*settles);
            }
            if *why != FlushReason::Relay {
                tell(Item::Flush);
            }
            // Whatever the reason: what was missed may have been that tables were altered.
            shared.feeds.doubted.notify_one();
            let session = shared.policies.session();
            if session.invalidation().is_some() {
                // What the policy would have made of the missed changes may lie on any shard.
                let edition = shared.live.hold();
                shared.cache.void_beside(Some(shard), &everything(&edition.collections, &session));
            }
        }
    }
}

fn changed(shared: &Arc<Shared>, shard: ShardId, epoch: Epoch, transaction: &Transaction, mut tell: impl FnMut(Item)) {
    let edition = shared.feeds.noting(shard, epoch, transaction.xid, &shared.live);
    let session = shared.policies.session();
    let collections = &*edition.collections;
    let known = shared.feeds.made.get(usize::from(shard.0));
    let known = known.map(|made| made.get(epoch, transaction.xid)).unwrap_or_default();
    let mut buckets: Vec<BucketId> =
        transaction.tables.iter().flat_map(|changes| touched::buckets(collections, changes, &known)).collect();
    let purged = match session.invalidation() {
        Some(declared) if known.asked == Asked::Nobody => {
            purged(shared, shard, &session, collections, declared, transaction)
        }
        _ => Wanted::default(),
    };
    let Purges { hard, soft, .. } = purged.of_all;
    buckets.extend_from_slice(&hard);
    buckets.sort_unstable_by_key(|bucket| bucket.0);
    buckets.dedup();
    shared.cache.hear(shard, epoch, transaction.xid, &buckets);
    tell(Item::Floor(transaction.xid, Buckets::These(buckets.into())));
    if !hard.is_empty() {
        shared.cache.void_beside(Some(shard), &hard);
        tell(Item::Void(Buckets::These(hard.into())));
    }
    if !soft.is_empty() {
        shared.cache.hear_softly(shard, epoch, transaction.xid, &soft);
        shared.cache.soften_beside(Some(shard), &soft);
        let soft: Arc<[BucketId]> = soft.into();
        tell(Item::SoftFloor(transaction.xid, Buckets::These(soft.clone())));
        tell(Item::SoftVoid(Buckets::These(soft)));
    }
    for (who, rows) in purged.refresh {
        refresh::fetch(shared, who, rows);
    }
    // Rows after their floors: what is told of them finds them raised.
    shared.notes.note(Source::Feed, || sample::of(collections, shard, transaction));
}

/// What the invalidation policy wants purged for changes made outside.
#[derive(Debug, Default)]
struct Wanted {
    /// For all tenants together.
    of_all: Purges,
    /// Rows to be fetched again, each tenant's.
    refresh: Vec<(Who, Vec<Again>)>,
}

impl Wanted {
    fn everything(collections: &Collections, session: &Session) -> Self {
        Self { of_all: Purges { hard: everything(collections, session), ..Purges::default() }, refresh: Vec::new() }
    }
}

/// What the invalidation policy wants purged: asked for each tenant that may have rows here, since the row does
/// not say whose it is.
fn purged(
    shared: &Shared,
    shard: ShardId,
    session: &Session,
    collections: &Collections,
    declared: &[Arc<str>],
    transaction: &Transaction,
) -> Wanted {
    let tenants = session.tenants();
    let mut whose: Vec<Who> = tenants
        .iter()
        .filter(|tenant| tenant.placement.contains(&shard))
        .map(|tenant| Who { tenant: tenant.id, class: tenant.class })
        .collect();
    if tenants.iter().len() == 0 {
        whose.push(Who::SHARED);
    }
    if whose.len() > MOST_TENANTS {
        return Wanted::everything(collections, session);
    }
    let mut wanted = Wanted::default();
    for changes in &transaction.tables {
        let Changed::Followed(table) = &changes.table else { return Wanted::everything(collections, session) };
        for collection in of_table(collections, table) {
            let (told, unread) = told(collection, table, declared, &changes.changes);
            for who in &whose {
                let dialect = &*shared.dialect;
                let about = About { collections, dialect, collection, who: *who, changes: &told, unread };
                let mut purges = invalidate::asked(about, &shared.metrics, |changes| session.invalidate(*who, changes));
                if !purges.refresh.is_empty() {
                    wanted.refresh.push((*who, std::mem::take(&mut purges.refresh)));
                }
                wanted.of_all.join(purges);
            }
        }
    }
    wanted
}

/// All rows, lists and tagged answers.
fn everything(collections: &Collections, session: &Session) -> Vec<BucketId> {
    let tenants = session.tenants();
    let tagged = tenants.iter().map(|tenant| tenant.id).chain([tenants.shared().id]).map(BucketId::tagged);
    all(collections).chain(tagged).collect()
}

/// Changes as a policy is told of them, and how many are left out because what the row held is not known.
fn told(
    collection: &Collection,
    table: &FeedTable,
    declared: &[Arc<str>],
    changes: &Changes,
) -> (Vec<Change>, Option<usize>) {
    let change = |kind, key| Change { collection: collection.name.clone(), key, kind, old: vec![], new: vec![] };
    let Changes::Rows(rows) = changes else { return (vec![change(ChangeKind::Truncate, String::new())], None) };
    let row = |row: &RowChange| -> Option<Vec<Change>> {
        let image = |image: &Option<_>| image.as_ref().map(|image| read(collection, table, declared, image));
        Some(match (image(&row.before), image(&row.after)) {
            (Some(old), Some(new)) => match (old?, new?) {
                (old, new) if old.0 == new.0 => {
                    vec![Change { old: old.1, new: new.1, ..change(ChangeKind::Update, new.0) }]
                }
                (old, new) => vec![
                    Change { old: old.1, ..change(ChangeKind::Delete, old.0) },
                    Change { new: new.1, ..change(ChangeKind::Insert, new.0) },
                ],
            },
            (Some(old), None) => old.map(|(key, old)| vec![Change { old, ..change(ChangeKind::Delete, key) }])?,
            (None, Some(new)) => new.map(|(key, new)| vec![Change { new, ..change(ChangeKind::Insert, key) }])?,
            (None, None) => Vec::new(),
        })
    };
    let told: Vec<Option<Vec<Change>>> = rows.iter().map(row).collect();
    let unread = told.iter().filter(|change| change.is_none()).count();
    (told.into_iter().flatten().flatten().collect(), (unread > 0).then_some(unread))
}

/// A row's key as in a path, and its declared values; `None` if one of them is not known.
fn read(
    collection: &Collection,
    table: &FeedTable,
    declared: &[Arc<str>],
    image: &tidegate_store::feed::RowImage,
) -> Option<(String, Vec<Option<String>>)> {
    let key = collection.parse_key(image.key.iter().map(|text| &**text)).ok()?;
    let value = |name: &Arc<str>| {
        if collection.column(name).is_none() {
            return Some(None);
        }
        let at = table.watched.iter().position(|watched| **watched == **name)?;
        match image.watched.get(at)? {
            Watched::Unknown => None,
            Watched::Null => Some(None),
            Watched::Text(text) => Some(Some(text.to_string())),
        }
    };
    Some((key.path_text(), declared.iter().map(value).collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests;
