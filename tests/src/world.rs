//! What most scenarios start with.

use crate::{Client, Config, Gateway, Shards, schema};

/// Two shards with the storefront schema, a gateway in front, a client.
#[derive(Debug)]
pub struct World {
    // Before the shards: the gateway ends first.
    /// The gateway.
    pub gateway: Gateway,
    /// A client of it.
    pub client: Client,
    /// The shards.
    pub shards: Shards,
}

/// How many products [`World::start`] seeds.
pub const PRODUCTS: i64 = 200;

impl World {
    /// Starts everything with the default configuration.
    pub async fn start() -> Self {
        Self::with(|config| config).await
    }

    /// Starts everything with a changed configuration.
    pub async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        let shards = Shards::start(2).await;
        schema::create(&shards, PRODUCTS).await;
        Self::over(shards, change).await
    }

    /// Starts a gateway over shards that have the schema.
    pub async fn over(shards: Shards, change: impl FnOnce(Config) -> Config) -> Self {
        let config = change(schema::config(&shards));
        Self::over_config(shards, &config).await
    }

    /// Starts a gateway with this configuration over shards that have the schema.
    pub async fn over_config(shards: Shards, config: &Config) -> Self {
        let gateway = Gateway::start(config).await;
        let client = gateway.client();
        Self { gateway, client, shards }
    }

    /// A seeded product on this shard.
    #[must_use]
    pub fn product_on(&self, shard: usize) -> i64 {
        self.nth_product_on(shard, 0)
    }

    /// Another seeded product on this shard.
    ///
    /// # Panics
    /// If there are not so many.
    #[must_use]
    pub fn nth_product_on(&self, shard: usize, n: usize) -> i64 {
        let id = self.shards.ids_on(shard).nth(n).expect("numbers do not end");
        assert!(id <= PRODUCTS, "product {id} is not seeded");
        id
    }
}
