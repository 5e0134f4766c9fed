//! {{name}}: say here what it decides.

use tidegate_policy_sdk::*;

struct ThePolicy;

impl Policy for ThePolicy {
    /// Takes the operator's `config` as JSON text. With one, derive serde's `Deserialize` for a type
    /// of yours and use `config::parse`.
    fn configure(json: &str) -> Result<Self, PolicyError> {
        config::none(json)?;
        Ok(Self)
    }
}
// {{#classify}}

impl Classifier for ThePolicy {
    /// What `classify` sees, in this order; nothing else may influence its answer.
    fn inputs() -> Vec<Input> {
        vec![Input::claim("tenant")]
    }

    fn classify(&self, request: &Request) -> Result<Classification, PolicyError> {
        match request.input(0) {
            Some(tenant) => Ok(Classification::tenant(tenant)),
            None => Err(PolicyError::no_match("the token has no claim `tenant`")),
        }
    }
}
// {{/classify}}
// {{#route}}

impl Router for ThePolicy {
    /// What `route` sees, in this order; nothing else may influence its answer.
    fn inputs() -> Vec<Input> {
        vec![Input::ShardKey]
    }

    /// Reads and writes of one key must go to the same shard.
    fn route(&self, request: &Request) -> Result<Targets, PolicyError> {
        Ok(match request.input(0) {
            Some(key) => Targets::Hash(topology::hash_key(key)),
            None => Targets::AllOfTenant,
        })
    }
}
// {{/route}}
// {{#cache-policy}}

impl CachePolicy for ThePolicy {
    /// What `decide` sees, in this order; nothing else may influence its answer.
    fn inputs() -> Vec<Input> {
        vec![Input::Class, Input::query("category_id")]
    }

    fn decide(&self, request: &Request) -> Result<Decision, PolicyError> {
        if request.input(0) == Some("admin") {
            return Ok(Decision::bypass());
        }
        Ok(match request.input(1) {
            Some(category) => Decision::as_configured().tag(format!("category:{category}")),
            None => Decision::as_configured(),
        })
    }
}
// {{/cache-policy}}
// {{#invalidate}}

impl Invalidator for ThePolicy {
    /// The columns that `invalidate` sees, in this order.
    fn inputs() -> Vec<Input> {
        vec![Input::column("category_id")]
    }

    fn invalidate(
        &self,
        _tenant: u32,
        _class: u32,
        changes: &[RowChange],
    ) -> Result<Vec<Action>, PolicyError> {
        let mut actions = Vec::new();
        for change in changes {
            for category in [change.before(0), change.after(0)].into_iter().flatten() {
                actions.push(Action::purge(Target::tag(format!("category:{category}"))));
            }
        }
        Ok(actions)
    }
}
// {{/invalidate}}

export_policy! {
    ThePolicy:
    // {{#classify}}
    Classifier,
    // {{/classify}}
    // {{#route}}
    Router,
    // {{/route}}
    // {{#cache-policy}}
    CachePolicy,
    // {{/cache-policy}}
    // {{#invalidate}}
    Invalidator,
    // {{/invalidate}}
}
