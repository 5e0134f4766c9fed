//! SIGTERM and SIGINT: the first asks to drain, the second ends the process. SIGHUP asks a service to read its
//! configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::ServerError;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To end. With the signal's name.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

/// The signals that ask the process for something, from the moment this is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    on_hangup: Wish,
}

impl Signals {
    /// Of a service.
    pub(crate) fn of_service() -> Result<Self, ServerError> {
        Self::with(Wish::Reload)
    }

    /// Of a command that lives in a terminal: closing it asks to end.
    pub(crate) fn of_terminal() -> Result<Self, ServerError> {
        Self::with(Wish::Stop("SIGHUP"))
    }

    fn with(on_hangup: Wish) -> Result<Self, ServerError> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            on_hangup,
        })
    }

    /// What the next one asks for.
    pub(crate) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Wish::Stop("SIGINT"),
            _ = self.hangup.recv() => self.on_hangup,
        }
    }

    /// The name of the next one that asks to end.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            if let Wish::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, ServerError> {
    signal(kind).map_err(ServerError::io("cannot listen for signals"))
}
