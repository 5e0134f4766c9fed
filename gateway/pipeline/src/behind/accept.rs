//! A write of one row, up to its acknowledgement.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tidegate_journal::{AppendError, Record, Ticket};
use tidegate_store::values::ImagePlan;
use tidegate_types::{
    answer::{Acknowledged, Landed, Refill, RowBody, RowChange, Trace, WriteAnswer, WriteFate, WrittenRow},
    collection::Collection,
    key::RowKey,
    mutation::{Entry, Image, Mutation, Sequence},
    policy::Who,
    problem::{Problem, ProblemKind, codes},
    query::Projection,
    request::{Facts, ReturnPreference, WriteRequest},
    route::ShardSet,
};

use super::{
    Behind, Held, RETRY_DELAY,
    dirty::RowName,
    judge::judge,
    lane::Lane,
    locks::Place,
    pressure::{Answering, Levels, Pressure},
    read::represent,
    render::{Base, Outcome, Single},
    repeats::{Answered, First, Known},
    status, through,
};
use crate::{Gateway, gateway::Shared, write::Destination};

/// A write and where it goes.
struct Asked<'a> {
    shared: &'a Shared,
    behind: &'a Behind,
    lane: &'a Arc<Lane>,
    write: &'a WriteRequest,
    who: Who,
    generation: u64,
}

/// What the lock of a row was let go of with.
enum Judged {
    /// The record has its place.
    Taken(Taken),
    /// The row stays as it is.
    Nothing,
    /// Too much waits, or only PostgreSQL can judge it or make what is asked for: it is written through.
    Through,
}

/// A record with its place, and what it says of its row.
struct Taken {
    ticket: Ticket,
    change: RowChange,
    body: RowBody,
}

/// A write to a write-behind collection.
pub(crate) async fn write(
    gateway: &Gateway,
    behind: &Behind,
    facts: &Facts<'_>,
    mut write: WriteRequest,
) -> Result<WriteAnswer, Problem> {
    through::complete_key(&mut write);
    let shared = &gateway.0;
    let destination = Destination::of(shared, facts, &write)?;
    let shard = destination.shard;
    let lane = behind.open_lane(shard)?;
    let (who, generation) = (destination.who, destination.session.generation());
    let asked = Asked { shared, behind, lane, write: &write, who, generation };
    let plan = behind.plan(&write.collection.name);
    let (Some(single), Some(plan)) = (Single::of(&write.action), plan) else {
        if write.idempotency.is_some() {
            return Err(Problem::new(
                ProblemKind::BadRequest,
                codes::IDEMPOTENCY,
                "An Idempotency-Key can be used with writes whose whole key is known only",
            )
            .hint("Send the row's key."));
        }
        return through::any_row(gateway, behind, write, destination).await;
    };
    let first = match asked.repeated().await? {
        Repeated::Answered(answer) => return Ok(*answer),
        Repeated::First(first) => first,
    };
    let pressure = asked.pressure();
    behind.0.metrics.pressed(pressure);
    let place = Place { collection: write.collection.name.clone(), shard };
    let row = RowName { collection: write.collection.name.clone(), key: single.key.clone() };
    let gate = behind.0.gates.share(&place).await.map_err(|_| busy(&write.collection))?;
    if shared.policies.session().generation() != generation {
        // Its row may be looked for on another shard by now. Whoever moved it waited for this gate.
        drop((gate, first));
        return Box::pin(self::write(gateway, behind, facts, write)).await;
    }
    let lock = behind.0.rows.hold(shard, &row).await;
    if lane.is_parked(&row) {
        return Err(parked());
    }
    let judged = match pressure {
        Pressure::Take => asked.judge(&plan, single, &row, first).await?,
        Pressure::Slow => return Err(slow_down()),
        Pressure::Full => return Err(full()),
        Pressure::Through => Judged::Through,
    };
    match judged {
        Judged::Taken(taken) => {
            drop((lock, gate));
            asked.acknowledge(taken, single.key.clone()).await
        }
        Judged::Nothing => Ok(asked.answer(Vec::new(), Landed::Shard)),
        // What the journal does not have it cannot recognise.
        Judged::Through if write.idempotency.is_some() => Err(slow_down()),
        Judged::Through if through::stays_in_its_row(&write.collection) => {
            let held = Held { row: Some((gate, lock)), ..Held::default() };
            let write = through::whole(write.clone(), single, &plan);
            through::one_row(gateway, lane, &row, write, destination, held).await
        }
        Judged::Through => {
            drop((lock, gate));
            let write = through::whole(write.clone(), single, &plan);
            through::any_row(gateway, behind, write, destination).await
        }
    }
}

enum Repeated {
    Answered(Box<WriteAnswer>),
    First(Option<First>),
}

impl Asked<'_> {
    /// Whether the request was sent before.
    async fn repeated(&self) -> Result<Repeated, Problem> {
        let Some(idempotency) = &self.write.idempotency else { return Ok(Repeated::First(None)) };
        match self.behind.0.repeats.look(self.who.tenant, idempotency) {
            Known::First(first) => Ok(Repeated::First(Some(first))),
            Known::Answered(answered) => {
                self.behind.0.metrics.repeated.inc();
                self.answer_again(*answered).await.map(|answer| Repeated::Answered(Box::new(answer)))
            }
            Known::UnderWay => Err(Problem::new(
                ProblemKind::Conflict,
                codes::IDEMPOTENCY,
                "A request with this Idempotency-Key is being answered",
            )
            .retry_after(RETRY_DELAY)),
            Known::Other => Err(Problem::new(
                ProblemKind::KeyReused,
                codes::IDEMPOTENCY,
                "Another request had this Idempotency-Key",
            )
            .hint("Send each request with a key of its own, and the same one only to repeat it as it was.")),
            Known::TooMany => Err(slow_down()),
        }
    }

    async fn answer_again(&self, answered: Answered) -> Result<WriteAnswer, Problem> {
        let Answered { sequence, shard, key, change, image } = answered;
        self.behind.0.journal.wait_durable(sequence).await.map_err(|_| ended())?;
        let body = match &image {
            Image::Row { json, .. } => self.represented(json).unwrap_or_else(nothing),
            Image::Gone => nothing(),
        };
        let lane = self.behind.lane(shard)?;
        let landed = self.landed(lane, sequence).await?;
        Ok(self.answer(vec![WrittenRow { key, change, body }], landed))
    }

    fn pressure(&self) -> Pressure {
        let Behind(inner) = self.behind;
        let stats = inner.journal.stats();
        let dirty: u64 = inner.lanes.iter().map(|lane| lane.bytes()).sum();
        let share = |part: u64, of: u64| part as f64 / of.max(1) as f64;
        let levels = Levels {
            journal: share(stats.used_bytes, stats.max_bytes),
            dirty: share(dirty, inner.settings.max_dirty_bytes),
            age: Levels::age_of(self.lane.oldest(), inner.settings.max_age),
        };
        levels.judge(self.answering(), fastrand::f64())
    }

    fn answering(&self) -> Answering {
        if self.lane.is_taking() { Answering::Yes } else { Answering::No }
    }

    /// Under the row's lock: a look at the row, conditions, its next image, its place.
    async fn judge(
        &self,
        plan: &ImagePlan,
        single: Single<'_>,
        row: &RowName,
        first: Option<First>,
    ) -> Result<Judged, Problem> {
        let write = self.write;
        let base = match self.lane.dirty.get(row).map(|dirty| dirty.image) {
            Some(Image::Gone) => Base::Gone,
            Some(Image::Row { json, .. }) => Base::Row(json),
            None if single.needs_base(write) => self.load(&row.key).await?,
            None => Base::Unknown,
        };
        // With a projection of its own, a version or a representation is what PostgreSQL would make of it.
        let tag = match &base {
            Base::Row(json) => match represent(json, &write.projection) {
                Some(body) => Some(body.etag),
                None => return Ok(Judged::Through),
            },
            Base::Gone | Base::Unknown => None,
        };
        judge(&write.if_match, write.if_none_match, tag)?;
        let (image, change) = match single.outcome(plan, &base) {
            Ok(Outcome::Changed { image, change }) => (image, change),
            Ok(Outcome::Nothing) => return Ok(Judged::Nothing),
            // What the database would make of it is not certain: it is asked.
            Err(problem) if problem.code == codes::VALUE_FORM => return Ok(Judged::Through),
            Err(problem) => return Err(problem),
        };
        let shown = match (&image, &base) {
            (Image::Row { json, .. }, _) | (Image::Gone, Base::Row(json)) => Some(json),
            (Image::Gone, Base::Gone | Base::Unknown) => None,
        };
        let body = match shown.filter(|_| write.returning == ReturnPreference::Representation) {
            None => nothing(),
            Some(json) => match self.represented(json) {
                Some(body) => body,
                None => return Ok(Judged::Through),
            },
        };
        match self.append(&row.key, image, change, first) {
            Ok(ticket) => Ok(Judged::Taken(Taken { ticket, change, body })),
            Err(AppendError::Behind { .. }) => Err(slow_down()),
            Err(AppendError::Ended(_)) => Err(ended()),
            Err(AppendError::Full { .. } | AppendError::NoSpace | AppendError::TooLarge { .. }) => {
                match self.answering() {
                    Answering::Yes => Ok(Judged::Through),
                    Answering::No => Err(full()),
                }
            }
        }
    }

    fn represented(&self, json: &Bytes) -> Option<RowBody> {
        represent(json, &self.write.projection)
    }

    /// The row as its shard has it now.
    async fn load(&self, key: &RowKey) -> Result<Base, Problem> {
        let loaded = self.shared.store.load_row(self.lane.shard, &self.write.collection, &Projection::Whole, key).await;
        let loaded = loaded.map_err(|error| error.into_problem())?;
        Ok(loaded.json.map_or(Base::Gone, Base::Row))
    }

    /// Gives the record its place. Never waits for the disk.
    fn append(
        &self,
        key: &RowKey,
        image: Image,
        change: RowChange,
        first: Option<First>,
    ) -> Result<Ticket, AppendError> {
        let mutation = Mutation {
            collection: self.write.collection.name.clone(),
            shard: self.lane.name.clone(),
            tenant: self.who.tenant,
            key: key.clone(),
            image: image.clone(),
        };
        let entry = Entry { mutation, change, idempotency: self.write.idempotency.clone() };
        let payload = entry.encode();
        let record = Record { partition: u32::from(self.lane.shard.0), idempotency: None, payload: &payload };
        // What a repeated request is answered with; most ask for no row.
        let shown = self.write.returning == ReturnPreference::Representation;
        let remembered = (key.clone(), if shown { image } else { Image::Gone });
        let (_, ticket) = self.lane.append(entry.mutation, || {
            let ticket = self.behind.0.journal.append(&record)?;
            let sequence = ticket.sequence();
            if let Some(first) = first {
                let (key, image) = remembered;
                first.answered(Answered { sequence, shard: self.lane.shard, key, change, image });
            }
            Ok::<_, AppendError>((sequence, ticket))
        })?;
        Ok(ticket)
    }

    /// Waits until the record is durable; if asked to, until the shard has it.
    async fn acknowledge(&self, taken: Taken, key: RowKey) -> Result<WriteAnswer, Problem> {
        let Taken { ticket, change, body } = taken;
        let (begun, sequence) = (Instant::now(), ticket.sequence());
        ticket.durable().await.map_err(|_| ended())?;
        self.behind.0.metrics.ack_seconds.observe(begun.elapsed().as_secs_f64());
        self.behind.0.metrics.acknowledged.inc();
        let landed = self.landed(self.lane, sequence).await?;
        Ok(self.answer(vec![WrittenRow { key, change, body }], landed))
    }

    /// Where the write is, after as long as its client wants to wait.
    async fn landed(&self, lane: &Arc<Lane>, sequence: Sequence) -> Result<Landed, Problem> {
        let token = self.behind.0.tokens.make(sequence, &lane.name);
        let acknowledged = Acknowledged { class: self.behind.0.settings.class, sequence, token };
        let wait = self.write.wait;
        if wait.is_zero() || tokio::time::timeout(wait, lane.reaches(sequence)).await.is_err() {
            return Ok(Landed::Journal(acknowledged));
        }
        match status::fate(self.shared, self.behind, lane, sequence).await? {
            WriteFate::Pending => Ok(Landed::Journal(acknowledged)),
            WriteFate::Applied => Ok(Landed::Shard),
            WriteFate::Failed { code, reason } => {
                Err(Problem::new(ProblemKind::Conflict, code.to_string(), reason.to_string())
                    .details("The write was acknowledged by the journal and refused by the database.")
                    .hint("The row takes no writes until an operator has decided about it."))
            }
        }
    }

    fn answer(&self, rows: Vec<WrittenRow>, landed: Landed) -> WriteAnswer {
        let shards = ShardSet::from_slice(&[self.lane.shard]);
        let trace = Trace { shards, generation: self.generation, who: self.who };
        WriteAnswer { rows, refill: Refill::None, landed, trace }
    }
}

/// A body that nobody asked for.
fn nothing() -> RowBody {
    RowBody::new(Bytes::new())
}

pub(super) fn busy(collection: &Collection) -> Problem {
    let message = format!("A write that may touch any row of {} is under way", collection.name);
    Problem::new(ProblemKind::ShardUnavailable, codes::JOURNAL_FULL, message)
        .details("Nothing was written.")
        .retry_after(RETRY_DELAY)
}

fn slow_down() -> Problem {
    Problem::new(ProblemKind::TooManyRequests, codes::JOURNAL_FULL, "Many acknowledged writes wait for their shard")
        .details("Nothing was written.")
        .retry_after(RETRY_DELAY)
}

fn full() -> Problem {
    let message = "Acknowledged writes wait for their shard, and no more can be taken";
    Problem::new(ProblemKind::ShardUnavailable, codes::JOURNAL_FULL, message)
        .details("Nothing was written.")
        .retry_after(RETRY_DELAY)
}

fn parked() -> Problem {
    Problem::new(
        ProblemKind::Conflict,
        codes::ROW_PARKED,
        "The database refused a write of this row that was acknowledged before",
    )
    .details("Nothing was written. The row takes no writes until an operator has decided about the refused one.")
    .hint("Its status URL says why it was refused.")
}

/// The journal takes nothing any more: the process ends.
pub(super) fn ended() -> Problem {
    Problem::new(ProblemKind::OutcomeUnknown, codes::OUTCOME_UNKNOWN, "The gateway ends; the write may have been kept")
        .hint("Read the row before trying again.")
}
