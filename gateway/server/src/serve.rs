//! `tidegate serve`: listeners, signals, drain.

use std::{net::SocketAddr, path::Path, sync::Arc};

use prometheus_client::registry::Registry;
use tidegate_admin::AdminState;
use tidegate_http::Drain;
use tidegate_pipeline::behind::Flushers;
use tidegate_types::settings::{HttpSettings, Settings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    altered,
    assemble::{Assembled, assemble},
    behind,
    cli::ServeArgs,
    error::ServerError,
    feeds,
    operator::Operator,
    reload::Reloader,
    signals::{Signals, Wish},
};

/// Runs the command.
pub(crate) async fn run(args: &ServeArgs) -> Result<(), ServerError> {
    let settings = tidegate_config::load(&args.config)?;
    let mut signals = Signals::of_service()?;
    let running = tokio::select! {
        running = Running::start(&settings, &args.config) => running?,
        signal = signals.stop() => {
            tracing::info!(signal, "stopped while starting");
            return Ok(());
        }
    };
    running.until(&mut signals).await
}

/// A gateway that serves.
pub(crate) struct Running {
    http: SocketAddr,
    admin: SocketAddr,
    state: AdminState,
    settings: HttpSettings,
    reloader: Arc<Reloader>,
    /// Cancelled first: the public listener waits for `drain_delay`, stops accepting, and finishes
    /// what is in flight.
    stop_http: CancellationToken,
    serving: JoinHandle<()>,
    /// Ended when nothing is acknowledged any more.
    flushers: Option<Flushers>,
    /// Cancelled when nothing is served any more: other gateways wait for this one no longer.
    stop_cluster: CancellationToken,
    clustering: Option<JoinHandle<()>>,
    /// Cancelled last: the operator's listener, the file watch, the late shards.
    stop_rest: CancellationToken,
    administering: JoinHandle<()>,
}

impl Running {
    /// Binds the listeners, reads the catalogs, serves. The operator's listener answers from the
    /// beginning. `file` is where the settings are from.
    pub(crate) async fn start(settings: &Settings, file: &Path) -> Result<Self, ServerError> {
        let state = AdminState::starting();
        let admin = tidegate_admin::Server::bind(&settings.admin, state.clone()).await?;
        let admin_address = admin.local_addr();
        let stop_rest = CancellationToken::new();
        // Ends the listener and the watchers if the rest fails, or the future is dropped.
        let guard = stop_rest.clone().drop_guard();
        let administering = tokio::spawn(admin.run(stop_rest.clone()));

        let mut registry = Registry::default();
        let Assembled { gateway, cluster, sampler, unread, plans } = assemble(settings, &mut registry).await?;
        let flushers = match &settings.journal {
            Some(journal) => Some(behind::start(journal, &gateway, plans, &mut registry).await?),
            None => None,
        };
        feeds::start(&settings.feed, &gateway, &stop_rest)?;
        let http = tidegate_http::Server::bind(&settings.http, gateway.clone(), Drain::new(), &mut registry)?;
        let http_address = http.local_addr();
        let stop_http = CancellationToken::new();
        let serving = tokio::spawn(http.run(stop_http.clone()));
        // Ends with the rest if starting fails.
        let stop_cluster = stop_rest.child_token();
        let clustering = cluster.map(|cluster| tokio::spawn(cluster.run(stop_cluster.clone())));
        let policies = gateway.policies().clone();
        let watch = stop_rest.clone();
        tokio::spawn(async move { policies.watch(watch).await });
        let (watched, watch) = (gateway.clone(), stop_rest.clone());
        tokio::spawn(async move { watched.monitor(watch).await });
        let all = settings.clone();
        let reloader = Reloader::new(file.to_owned(), all, gateway.clone(), sampler, stop_rest.clone());
        let reloader = Arc::new(reloader);
        reloader.compare_later(unread).await;
        tokio::spawn(altered::follow(gateway.clone(), reloader.clone(), stop_rest.clone()));
        state.ready(Arc::new(Operator { gateway, reloader: reloader.clone() }), registry);
        tracing::info!(http = %http_address, admin = %admin_address, "listening");
        guard.disarm();
        Ok(Self {
            http: http_address,
            admin: admin_address,
            state,
            settings: settings.http.clone(),
            reloader,
            stop_http,
            serving,
            flushers,
            stop_cluster,
            clustering,
            stop_rest,
            administering,
        })
    }

    /// The public address.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// The operator's address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Serves until a signal, then drains. A second signal ends the process at once.
    pub(crate) async fn until(self, signals: &mut Signals) -> Result<(), ServerError> {
        let signal = loop {
            match signals.next().await {
                Wish::Stop(signal) => break signal,
                // In a task of its own: a signal to end must not wait for it.
                Wish::Reload => drop(tokio::spawn(reload(self.reloader.clone()))),
            }
        };
        tracing::info!(
            signal,
            drain_delay_ms = millis(self.settings.drain_delay),
            drain_grace_ms = millis(self.settings.drain_grace),
            "draining: /ready says 503 and requests are still accepted"
        );
        tokio::select! {
            () = self.drained() => {
                tracing::info!("stopped");
                Ok(())
            }
            signal = signals.stop() => {
                tracing::warn!(signal, "a second signal: stopping at once");
                std::process::exit(130)
            }
        }
    }

    async fn drained(self) {
        // First, so that readiness never lags behind the listener.
        self.state.drain();
        self.stop_http.cancel();
        ended("the public listener", self.serving).await;
        // Before the cluster: a flush is a write that others are told of.
        if let Some(flushers) = self.flushers {
            flushers.drain(self.settings.drain_grace).await;
        }
        self.stop_cluster.cancel();
        if let Some(clustering) = self.clustering {
            ended("the cluster", clustering).await;
        }
        self.stop_rest.cancel();
        ended("the admin listener", self.administering).await;
    }
}

/// On SIGHUP.
async fn reload(reloader: Arc<Reloader>) {
    match reloader.reload().await {
        Ok(reloaded) => {
            reloaded.log();
            tracing::info!(target: "audit", action = "reload", actor = "SIGHUP", "order carried out");
        }
        Err(error) => {
            tracing::error!(target: "audit", action = "reload", actor = "SIGHUP", why = %error, "order refused");
        }
    }
}

async fn ended(what: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "{what} failed");
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
