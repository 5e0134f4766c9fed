//! The network between gateways: messages are delayed, overtake each other, are lost, arrive twice, and pairs of
//! gateways are cut off from each other.

use std::{cell::RefCell, collections::BTreeSet, future::Future, rc::Rc};

use tokio::sync::oneshot;

use crate::{
    executor::{Gone, Node, Sim},
    session::delay,
};

/// The network. Clones share it.
#[derive(Clone)]
pub struct Network {
    sim: Sim,
    cut: Rc<RefCell<BTreeSet<(u8, u8)>>>,
    losses: u32,
}

impl Network {
    /// A network that loses one message in `losses` (0: none) and doubles as many.
    #[must_use]
    pub fn new(sim: &Sim, losses: u32) -> Self {
        Self { sim: sim.clone(), cut: Rc::default(), losses }
    }

    /// Cuts two gateways off from each other.
    pub fn cut(&self, a: u8, b: u8) {
        self.cut.borrow_mut().insert((a.min(b), a.max(b)));
    }

    /// Ends every cut.
    pub fn heal(&self) {
        self.cut.borrow_mut().clear();
    }

    fn passes(&self, from: u8, to: u8) -> bool {
        !self.cut.borrow().contains(&(from.min(to), from.max(to))) && !self.sim.once_in(self.losses)
    }

    /// Has another gateway do something and waits for its answer, forever if the message or the answer is lost.
    ///
    /// # Errors
    /// The other gateway crashed, or the network lost something: nothing is known.
    pub async fn ask<F: Future<Output = ()> + 'static>(
        &self,
        from: u8,
        to: u8,
        work: impl Fn() -> F + 'static,
    ) -> Result<(), Gone> {
        let (sender, answer) = oneshot::channel();
        let network = self.clone();
        self.sim.spawn(Node::Outside, async move {
            let sim = network.sim.clone();
            sim.sleep(delay(&sim)).await;
            if !network.passes(from, to) {
                return;
            }
            if sim.once_in(network.losses) {
                let (late, again) = (sim.clone(), work());
                sim.spawn(Node::Outside, async move {
                    late.sleep(delay(&late)).await;
                    late.spawn(Node::Gateway(to), again);
                });
            }
            let done = sim.call(Node::Gateway(to), work()).await;
            sim.sleep(delay(&sim)).await;
            if done.is_ok() && network.passes(to, from) {
                // Nobody may be waiting.
                let _ = sender.send(());
            }
        });
        answer.await.map_err(|_| Gone)
    }
}
