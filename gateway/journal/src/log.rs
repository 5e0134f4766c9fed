//! What is needed of a log, wherever it is kept.

use std::{fmt, future::Future, pin::Pin, thread};

use tidegate_types::mutation::Sequence;

use crate::{
    error::{AppendError, Ended},
    journal::{Journal, Record},
    landing::{Landing, Ticket},
    state::Stats,
};

/// A boxed future, so that a [`Log`] can be an object.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A log of records that have their order when they are taken, and are durable later, in that order. What it has once
/// called durable is there when it is opened again, however its process and its machine ended.
pub trait Log: fmt::Debug + Send + Sync + 'static {
    /// The number of this opening, larger than that of every one before.
    fn epoch(&self) -> u64;

    /// Takes a record: it has its sequence, the next one, when this returns, and is durable when its ticket says so. Never
    /// waits.
    ///
    /// # Errors
    /// [`AppendError`]: the record was not taken and has no sequence.
    fn append(&self, record: &Record<'_>) -> Result<Ticket, AppendError>;

    /// The last durable record, and with it all before.
    fn durable(&self) -> Sequence;

    /// The record that was taken last, durable or not.
    fn last(&self) -> Sequence;

    /// Waits until a record that was taken is durable; for one that was not taken yet, until the last that was is.
    /// Resolves to [`Ended`] as [`Ticket::durable`] does.
    fn wait_durable(&self, sequence: Sequence) -> Waiting<'_, Result<(), Ended>>;

    /// Nobody needs the records up to this one any more. They go when there is time.
    fn release(&self, up_to: Sequence);

    /// The log in figures.
    fn stats(&self) -> Stats;

    /// Takes nothing more, and resolves when what was taken is durable, or the log has failed.
    fn close(&self) -> Waiting<'_, ()>;
}

impl Log for Journal {
    fn epoch(&self) -> u64 {
        self.epoch()
    }

    fn append(&self, record: &Record<'_>) -> Result<Ticket, AppendError> {
        self.append(record)
    }

    fn durable(&self) -> Sequence {
        self.durable()
    }

    fn last(&self) -> Sequence {
        self.last()
    }

    fn wait_durable(&self, sequence: Sequence) -> Waiting<'_, Result<(), Ended>> {
        Box::pin(self.wait_durable(sequence))
    }

    fn release(&self, up_to: Sequence) {
        self.release(up_to);
    }

    fn stats(&self) -> Stats {
        self.stats()
    }

    fn close(&self) -> Waiting<'_, ()> {
        Box::pin(async {
            let (closed, journal) = (std::sync::Arc::new(Landing::new()), self.clone());
            let told = closed.clone();
            // Closing joins the writer's thread, which no task may wait for in place.
            let waits = move || {
                journal.close();
                told.land();
            };
            match thread::Builder::new().name("tidegate-journal-close".to_owned()).spawn(waits) {
                // It has landed or it never does, so there is no outcome to look at.
                Ok(_) => drop(closed.landed().await),
                Err(error) => {
                    tracing::warn!(%error, "no thread to wait for the journal's end on: waiting in place");
                    self.close();
                }
            }
        })
    }
}
