//! What the demo writes and prints.

use crate::{
    cli::DemoArgs,
    demo::folder::{Folder, Lifetime, Storefront},
    serve::Running,
};

/// The configuration it serves.
pub(super) fn config(args: &DemoArgs, shards: impl Iterator<Item = (&'static str, String)>) -> String {
    let DemoArgs { listen, admin, .. } = args;
    let shards: String = shards.map(|(name, url)| format!("[shards.{name}]\nprimary = \"{url}\"\n")).collect();
    format!(
        r#"# Written by `tidegate demo` at every start: changes are lost.

[http]
listen = "{listen}"
drain_delay = "0s"
drain_grace = "5s"

[admin]
listen = "{admin}"

{shards}
[journal]
dir = "journal"

[policies]
dir = "policies"

[policies.route]
plugin = "hash-router"

[collections.products]
table = "products"
cache_control = "public"
track = ["category"]

[collections.profiles]
table = "profiles"
mode = "write-through"

[collections.carts]
table = "carts"
key = ["profile_id", "product_id"]
shard_key = ["profile_id"]
mode = "write-behind"

[collections.orders]
table = "orders"
key = ["profile_id", "id"]
shard_key = ["profile_id"]
"#
    )
}

/// Where it is and what to try.
pub(super) fn welcome(running: &Running, folder: &Folder, storefront: &Storefront) -> String {
    let (http, admin) = (format!("http://{}", running.http()), format!("http://{}", running.admin()));
    let data = folder.path().display();
    let kept = match folder.lifetime() {
        Lifetime::Kept => "kept",
        Lifetime::Temporary => "removed at the end; keep it with --data DIR",
    };
    let Storefront { products, profiles, .. } = storefront;
    let product = format!("{http}/v1/products/42");
    let plugin = format!("{admin}/admin/plugins/hash-router");
    format!(
        r#"
Tidegate serves a storefront: {products} products, {profiles} profiles with carts and orders, on two PostgreSQL shards.

  data      {http}/v1/products   also profiles, carts, orders
  operator  {admin}/
  folder    {data}   ({kept})

Try, in another terminal:

  1. A row, twice: first a miss that is stored, then a hit
     curl -i {product}

  2. The row again, if it has changed: 304, and no database is asked
     curl -s -o /dev/null --etag-save /tmp/42.etag {product}; curl -i --etag-compare /tmp/42.etag {product}

  3. A list, merged from both shards in order
     curl -i '{http}/v1/products?price=lt.10&order=price.asc&limit=5&select=id,name,price'

  4. A write, unless somebody else was quicker (run it twice: 412)
     curl -i -X PATCH {product} -H 'Content-Type: application/json' -H 'Prefer: return=representation' -H "If-Match: $(cat /tmp/42.etag)" -d '{{"stock": 7, "price": 9.99}}'

  5. Another routing policy while it runs: here the same rule, written in C
     cp {data}/routers/hash-router-c.wasm {data}/policies/hash-router.wasm; sleep 1; curl {admin}/admin/plugins

  Or in steps, each seen before the next: stage, compare in shadow, promote, and back
     curl -T {data}/routers/hash-router.wasm {plugin}
     curl -X POST {plugin}/shadow; curl -s -o /dev/null {http}/v1/products/[201-400]; curl {plugin}
     curl -X POST {plugin}/promote; curl -X POST {plugin}/rollback

  6. Write-through: a profile is in the cache as soon as it is written, also if nobody ever read it
     curl -i -X PATCH {http}/v1/profiles/7 -H 'Content-Type: application/json' -d '{{"country": "IS"}}'; curl -i {http}/v1/profiles/7

  7. Write-behind: a hundred carts are acknowledged as soon as the journal has them; then how many have not reached their shard yet, until none
     curl -s -o /dev/null -X PUT '{http}/v1/carts/7,[1-100]' -H 'Content-Type: application/json' -d '{{"quantity": 2, "added_at": "2026-12-01T12:00:00Z"}}'; curl -i {http}/v1/carts/7,100; curl {admin}/admin/journal

Ctrl-C stops everything.
"#
    )
}
