//! The body of `POST /admin/journal/requeue` and `/admin/journal/discard`.

use serde::Deserialize;

use crate::{
    control::{Letter, Refused},
    reply,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    shard: String,
    sequence: u64,
    reason: Option<String>,
}

/// Which dead letter is decided about, and why.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) letter: Letter,
    pub(crate) reason: Option<String>,
}

impl Words {
    /// Reads them.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refused> {
        let hint = "It is a JSON object with the shard and the sequence of a dead letter, as GET /admin/journal shows \
                    them. A reason may be in it.";
        let Body { shard, sequence, reason } = serde_json::from_slice(body)
            .map_err(|error| reply::invalid(format!("The body cannot be taken: {error}"), hint))?;
        Ok(Self { letter: Letter { shard, sequence }, reason })
    }
}
