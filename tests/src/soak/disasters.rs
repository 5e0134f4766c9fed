//! What goes wrong, when. Four lanes, each with one thing at a time: the network to the shards, the network between the
//! gateways, Redis, and the gateways' processes. Every lane deals its kinds of faults like cards, so that each comes
//! before any comes again.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

use super::{
    Effort, Scene,
    site::{Front, Site},
    totals::Totals,
};
use crate::{
    Gateway, Redis,
    proxy::{Proxy, Weather},
};

/// Whether it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    No,
    Yes,
}

/// The slowest network, in milliseconds per piece and direction.
const SLOWEST: u64 = 20;
/// How long a process stands still at most: long enough that others go on without it.
const LONGEST_PAUSE: Duration = Duration::from_millis(1800);
/// How long a gateway's metrics may take.
const SCRAPE: Duration = Duration::from_secs(2);

/// Cards, dealt in random order until all were.
#[derive(Debug)]
struct Deck<T: 'static> {
    all: &'static [T],
    left: Vec<T>,
}

impl<T: Copy> Deck<T> {
    fn new(all: &'static [T]) -> Self {
        Self { all, left: Vec::new() }
    }

    fn deal(&mut self, random: &mut fastrand::Rng) -> T {
        if self.left.is_empty() {
            self.left.extend_from_slice(self.all);
            random.shuffle(&mut self.left);
        }
        self.left.pop().expect("no deck is empty")
    }
}

/// What happens to connections.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Reset,
    Slow,
    Trickle,
    Refused,
    Stalled,
}

const FAULTS: &[Fault] = &[Fault::Reset, Fault::Slow, Fault::Trickle, Fault::Refused, Fault::Stalled];

impl Fault {
    fn weather(self, random: &mut fastrand::Rng) -> Option<Weather> {
        match self {
            Self::Reset => None,
            Self::Slow => Some(Weather::Slow(Duration::from_millis(random.u64(1..=SLOWEST)))),
            Self::Trickle => Some(Weather::Trickle),
            Self::Refused => Some(Weather::Refused),
            Self::Stalled => Some(Weather::Stalled),
        }
    }
}

/// What a lane has in hand.
struct Lane {
    random: fastrand::Rng,
    calm: Duration,
    over: watch::Receiver<Stop>,
    totals: Totals,
}

impl Lane {
    /// Waits a while, at most this long.
    async fn wait(&mut self, most: Duration) -> ControlFlow<()> {
        let pause = most.mul_f64(self.random.f64());
        match tokio::time::timeout(pause, self.over.wait_for(|stop| *stop == Stop::Yes)).await {
            Ok(_) => ControlFlow::Break(()),
            Err(_) => ControlFlow::Continue(()),
        }
    }

    /// Waits until something is to go wrong.
    async fn calm(&mut self) -> ControlFlow<()> {
        self.wait(self.calm).await
    }

    /// Makes the network bad for a while, and fair again, whatever ended it.
    async fn spoil(&mut self, proxies: &[&Proxy], fault: Fault) {
        let Some(weather) = fault.weather(&mut self.random) else {
            return proxies.iter().for_each(|proxy| proxy.reset());
        };
        if weather == Weather::Refused {
            // Connections that are there would not notice.
            proxies.iter().for_each(|proxy| proxy.reset());
        }
        proxies.iter().for_each(|proxy| proxy.set(weather));
        let _ = self.calm().await;
        proxies.iter().for_each(|proxy| proxy.set(Weather::Fair));
    }
}

/// The lanes.
pub(super) struct Disasters {
    lanes: Vec<JoinHandle<Totals>>,
    processes: JoinHandle<(Totals, Vec<Gateway>)>,
}

impl Disasters {
    /// Lets things go wrong until it is over.
    pub(super) fn start(
        site: &Site,
        scene: &Scene,
        effort: &Effort,
        gateways: Vec<Gateway>,
        over: watch::Receiver<Stop>,
    ) -> Self {
        let lane = |number: u64| Lane {
            random: fastrand::Rng::with_seed(effort.seed ^ (number << 40)),
            calm: effort.calm,
            over: over.clone(),
            totals: Totals::default(),
        };
        let mut lanes = vec![tokio::spawn(shards(lane(1), site.fronts.clone()))];
        if effort.gateways > 1 {
            lanes.push(tokio::spawn(peers(lane(2), site.fronts.clone())));
        }
        if let Some(redis) = &site.redis {
            lanes.push(tokio::spawn(tier(lane(3), site.fronts.clone(), redis.clone())));
        }
        let processes = tokio::spawn(processes(lane(4), site.fronts.clone(), gateways, scene.clone()));
        Self { lanes, processes }
    }

    /// After it was told that it is over: what happened. The gateways end.
    ///
    /// # Panics
    /// If a lane did.
    pub(super) async fn end(self) -> Totals {
        let mut totals = Totals::default();
        for lane in self.lanes {
            totals.add(lane.await.expect("disasters do not fail"));
        }
        let (of_processes, gateways) = self.processes.await.expect("gateways start again");
        totals.add(of_processes);
        for gateway in &gateways {
            totals.shared_hits += shared_hits(gateway).await;
        }
        totals
    }
}

/// Rows that a gateway took from what they share; 0 if it does not say.
async fn shared_hits(gateway: &Gateway) -> u64 {
    match tokio::time::timeout(SCRAPE, gateway.try_metrics()).await {
        Ok(Some(metrics)) => metrics.sum("tidegate_l2_gets", &[("outcome", "hit")]),
        _ => 0,
    }
}

/// The network to the shards: of one gateway to one shard or both.
async fn shards(mut lane: Lane, fronts: Arc<[Front]>) -> Totals {
    let mut faults = Deck::new(FAULTS);
    while lane.calm().await.is_continue() {
        let front = &fronts[lane.random.usize(..fronts.len())];
        let Ok(_spoiling) = front.network.try_read() else { continue };
        let one = lane.random.usize(..front.shards.len());
        let chosen = if lane.random.u8(..3) == 0 { 0..front.shards.len() } else { one..one + 1 };
        let proxies: Vec<&Proxy> = front.shards[chosen].iter().collect();
        let fault = faults.deal(&mut lane.random);
        lane.totals.count(match fault {
            Fault::Reset => "shard reset",
            Fault::Slow => "shard slow",
            Fault::Trickle => "shard trickle",
            Fault::Refused => "shard refused",
            Fault::Stalled => "shard stalled",
        });
        lane.spoil(&proxies, fault).await;
    }
    lane.totals
}

/// The network between the gateways: what the others send to one of them.
async fn peers(mut lane: Lane, fronts: Arc<[Front]>) -> Totals {
    let mut faults = Deck::new(FAULTS);
    while lane.calm().await.is_continue() {
        let front = &fronts[lane.random.usize(..fronts.len())];
        let fault = faults.deal(&mut lane.random);
        lane.totals.count(match fault {
            Fault::Reset => "peer reset",
            Fault::Slow => "peer slow",
            Fault::Trickle => "peer trickle",
            Fault::Refused => "peer refused",
            Fault::Stalled => "peer stalled",
        });
        lane.spoil(&front.peers.iter().collect::<Vec<_>>(), fault).await;
    }
    lane.totals
}

#[derive(Debug, Clone, Copy)]
enum TierFault {
    Network(Fault),
    Stopped,
    Flushed,
    Killed,
}

const TIER_FAULTS: &[TierFault] = &[
    TierFault::Network(Fault::Reset),
    TierFault::Network(Fault::Slow),
    TierFault::Network(Fault::Trickle),
    TierFault::Network(Fault::Refused),
    TierFault::Network(Fault::Stalled),
    TierFault::Stopped,
    TierFault::Flushed,
    TierFault::Flushed,
    TierFault::Killed,
];

/// Redis, and the network of one gateway to it.
async fn tier(mut lane: Lane, fronts: Arc<[Front]>, redis: Arc<Mutex<Redis>>) -> Totals {
    let mut faults = Deck::new(TIER_FAULTS);
    let mut redis = redis.lock().await;
    // Calmer than the rest: it is left alone for a while by who has waited for it in vain.
    let calm = lane.calm * 2;
    while lane.wait(calm).await.is_continue() {
        match faults.deal(&mut lane.random) {
            TierFault::Network(fault) => {
                lane.totals.count(match fault {
                    Fault::Reset => "redis reset",
                    Fault::Slow => "redis slow",
                    Fault::Trickle => "redis trickle",
                    Fault::Refused => "redis refused",
                    Fault::Stalled => "redis stalled",
                });
                let front = &fronts[lane.random.usize(..fronts.len())];
                lane.spoil(&front.tier.iter().collect::<Vec<_>>(), fault).await;
            }
            TierFault::Stopped => {
                lane.totals.count("redis stopped");
                redis.signal(Signal::SIGSTOP);
                let _ = lane.calm().await;
                redis.signal(Signal::SIGCONT);
            }
            TierFault::Flushed => {
                lane.totals.count("redis flushed");
                redis.command("FLUSHALL").await;
            }
            TierFault::Killed => {
                lane.totals.count("redis killed");
                redis.kill();
                let _ = lane.calm().await;
                redis.restart().await;
            }
        }
    }
    lane.totals
}

#[derive(Debug, Clone, Copy)]
enum ProcessFault {
    Paused,
    Killed,
}

const PROCESS_FAULTS: &[ProcessFault] =
    &[ProcessFault::Paused, ProcessFault::Paused, ProcessFault::Paused, ProcessFault::Killed];

/// The gateways' processes, one at a time.
async fn processes(
    mut lane: Lane,
    fronts: Arc<[Front]>,
    mut gateways: Vec<Gateway>,
    scene: Scene,
) -> (Totals, Vec<Gateway>) {
    let mut faults = Deck::new(PROCESS_FAULTS);
    // Calmer than the rest: while a gateway stands still, its clients and whoever wants its rows wait.
    let calm = lane.calm * 3;
    while lane.wait(calm).await.is_continue() {
        let number = lane.random.usize(..gateways.len());
        match faults.deal(&mut lane.random) {
            ProcessFault::Paused => {
                lane.totals.count("gateway paused");
                gateways[number].signal(Signal::SIGSTOP);
                let _ = lane.wait(LONGEST_PAUSE).await;
                gateways[number].signal(Signal::SIGCONT);
            }
            ProcessFault::Killed => {
                lane.totals.count("gateway killed");
                lane.totals.shared_hits += shared_hits(&gateways[number]).await;
                let _fair = fronts[number].network.write().await;
                let gateway = gateways.swap_remove(number).kill_and_start().await;
                scene.moved(number, gateway.client());
                gateways.push(gateway);
                let last = gateways.len() - 1;
                gateways.swap(number, last);
            }
        }
    }
    (lane.totals, gateways)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_card_is_dealt_before_one_comes_again() {
        let mut deck = Deck::new(&[1, 2, 3]);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..10 {
            let mut dealt: Vec<i32> = (0..3).map(|_| deck.deal(&mut random)).collect();
            dealt.sort_unstable();
            assert_eq!(dealt, [1, 2, 3]);
        }
    }
}
