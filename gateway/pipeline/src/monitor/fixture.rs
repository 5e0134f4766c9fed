//! A row that changed, for unit tests.

use std::sync::Arc;

use tidegate_types::{
    key::{KeyValue, RowKey},
    request::TenantId,
    route::ShardId,
};

use super::Sample;
use crate::fixture::collection;

pub(super) fn sample(id: i64) -> Sample {
    Sample {
        collection: Arc::new(collection(0, "written")),
        shard: ShardId(0),
        tenant: Some(TenantId::SHARED),
        key: RowKey([KeyValue::Int(id), KeyValue::Text("en".into())].into_iter().collect()),
    }
}
