//! SIGTERM and SIGINT: the first asks to drain, the second ends the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::ServerError;

/// The signals that ask the process to end, from the moment this is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    /// Of a service: SIGHUP is left as it is, so that `nohup` works.
    pub(crate) fn of_service() -> Result<Self, ServerError> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: None,
        })
    }

    /// Of a command that lives in a terminal: closing it asks to end, too.
    pub(crate) fn of_terminal() -> Result<Self, ServerError> {
        Ok(Self { hangup: Some(listen(SignalKind::hangup())?), ..Self::of_service()? })
    }

    /// The next one's name.
    pub(crate) async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, ServerError> {
    signal(kind).map_err(ServerError::io("cannot listen for signals"))
}
