//! What answers requests: the seam between the HTTP front and the pipelines.

use std::{future::Future, sync::Arc};

use tidegate_pipeline::{Gateway, Names};
use tidegate_types::{
    answer::{ListAnswer, RowAnswer, WriteAnswer, WriteStatus},
    collection::{Collection, Collections},
    policy::Who,
    problem::Problem,
    request::{Facts, ListRead, RowRead, WriteRequest},
    route::Topology,
};

/// The pipelines as the front sees them. [`Gateway`] is the one implementation outside of tests.
pub trait Backend: Send + Sync + 'static {
    /// The served collection of this name. A request asks once: collections may be replaced at any time.
    fn collection(&self, name: &str) -> Option<Arc<Collection>>;

    /// The served collections, to suggest one where a name is wrong.
    fn collections(&self) -> Arc<Collections>;

    /// The names of a tenant and a class, for logs.
    fn names(&self, who: Who) -> Names;

    /// The shards, for their names in logs.
    fn topology(&self) -> &Arc<Topology>;

    /// What became of the acknowledged write that this token names; `None` if it names none.
    fn write_status(&self, token: &str) -> impl Future<Output = Result<Option<WriteStatus>, Problem>> + Send;

    /// Answers a keyed read.
    fn read_row(&self, facts: &Facts<'_>, read: &RowRead) -> impl Future<Output = Result<RowAnswer, Problem>> + Send;

    /// Answers a list read.
    fn read_list(&self, facts: &Facts<'_>, read: &ListRead)
    -> impl Future<Output = Result<ListAnswer, Problem>> + Send;

    /// Runs a write. Dropping the future must not stop one that has begun.
    fn write(
        &self,
        facts: &Facts<'_>,
        write: WriteRequest,
    ) -> impl Future<Output = Result<WriteAnswer, Problem>> + Send;
}

impl Backend for Gateway {
    fn collection(&self, name: &str) -> Option<Arc<Collection>> {
        Self::collection(self, name)
    }

    fn collections(&self) -> Arc<Collections> {
        Self::collections(self)
    }

    fn names(&self, who: Who) -> Names {
        Self::names(self, who)
    }

    fn topology(&self) -> &Arc<Topology> {
        Self::topology(self)
    }

    fn write_status(&self, token: &str) -> impl Future<Output = Result<Option<WriteStatus>, Problem>> + Send {
        Self::write_status(self, token)
    }

    fn read_row(&self, facts: &Facts<'_>, read: &RowRead) -> impl Future<Output = Result<RowAnswer, Problem>> + Send {
        Self::read_row(self, facts, read)
    }

    fn read_list(
        &self,
        facts: &Facts<'_>,
        read: &ListRead,
    ) -> impl Future<Output = Result<ListAnswer, Problem>> + Send {
        Self::read_list(self, facts, read)
    }

    fn write(
        &self,
        facts: &Facts<'_>,
        write: WriteRequest,
    ) -> impl Future<Output = Result<WriteAnswer, Problem>> + Send {
        Self::write(self, facts, write)
    }
}
