//! `tidegate demo`: two PostgreSQL shards of its own, a filled storefront, a WASM routing policy.
//!
//! # Layout
//! - `folder`: what lies in the data folder, and whether it is filled already
//! - `data`: the rows, the same on every machine
//! - `fill`: the rows into the shards
//! - `text`: what is printed

mod data;
mod fill;
mod folder;
mod text;

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use tidegate_postgres::{Binaries, Cluster, Durability};

use crate::{
    cli::DemoArgs,
    demo::folder::{Folder, Lifetime, Storefront},
    error::ServerError,
    serve::Running,
    signals::Signals,
};

/// The shards' names. Placement rests on them.
const SHARDS: [&str; 2] = ["a", "b"];
const DATABASE: &str = "storefront";

/// The demo while it runs. Fields drop in order: the servers end before their folder goes.
struct Demo {
    clusters: Vec<Cluster>,
    folder: Folder,
    storefront: Storefront,
}

/// Runs the command.
pub(crate) async fn run(args: &DemoArgs) -> Result<(), ServerError> {
    let mut signals = Signals::of_terminal()?;
    // Dropping what is prepared stops what was started.
    let prepared = tokio::select! {
        prepared = Box::pin(prepare(args)) => Some(prepared?),
        _ = signals.stop() => None,
    };
    let Some((demo, running)) = prepared else {
        eprintln!("Stopped.");
        return Ok(());
    };
    print!("{}", text::welcome(&running, &demo.folder, &demo.storefront));
    let served = running.until(&mut signals).await;
    demo.end().await;
    served
}

async fn prepare(args: &DemoArgs) -> Result<(Demo, Running), ServerError> {
    free(args.listen, "--listen")?;
    free(args.admin, "--admin")?;
    let folder = Folder::open(args.data.as_deref())?;
    let found = folder.storefront()?;
    // Has a progress bar of its own where it must download.
    let binaries = Binaries::find_or_download(args.pg_bin.as_deref()).await?;
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    style(&bar, "{spinner} {msg}");
    bar.set_message(format!("Starting {} PostgreSQL {} shards", SHARDS.len(), binaries.version()));
    let mut demo = Demo { clusters: start(&binaries, &folder).await?, folder, storefront: Storefront::of(args) };
    match found {
        Some(found) => demo.storefront = found,
        None => {
            style(&bar, "{spinner} {msg:<18} [{bar:40}] {percent:>3} %");
            fill::fill(&demo.clusters, &demo.storefront, &bar).await?;
            demo.folder.mark_filled(&demo.storefront)?;
        }
    }
    style(&bar, "{spinner} {msg}");
    bar.set_message("Starting the gateway");
    demo.folder.write_policies()?;
    let config = demo.folder.write_config(args, &demo.clusters)?;
    let settings = tidegate_config::load(&config)?;
    let running = Running::start(&settings, &config).await;
    bar.finish_and_clear();
    Ok((demo, running?))
}

/// Tells before anything is prepared that an address is taken. It is let go again: the listeners
/// have the last word.
fn free(address: SocketAddr, option: &str) -> Result<(), ServerError> {
    let problem =
        |error| ServerError::Arguments(format!("cannot listen on {address}: {error}. Choose another {option}"));
    TcpListener::bind(address).map(drop).map_err(problem)
}

async fn start(binaries: &Binaries, folder: &Folder) -> Result<Vec<Cluster>, ServerError> {
    let durability = match folder.lifetime() {
        Lifetime::Kept => Durability::Durable,
        Lifetime::Temporary => Durability::Fast,
    };
    let clusters = SHARDS.map(|name| {
        let builder = Cluster::builder(binaries.clone(), folder.shard(name));
        builder.name(format!("shard {name}")).durability(durability).start()
    });
    Ok(try_join_all(clusters).await?)
}

impl Demo {
    /// Stops the servers at the same time, then removes the folder if it was temporary.
    async fn end(mut self) {
        futures_util::future::join_all(self.clusters.iter_mut().map(Cluster::stop)).await;
    }
}

fn style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
