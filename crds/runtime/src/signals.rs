//! Shutdown signals. The first SIGTERM or SIGINT starts a graceful shutdown, the second one ends the process at once.
//!
//! SIGHUP has two meanings. Where the process has a terminal, that was closed: a shutdown. Elsewhere a supervisor asks for the
//! configuration to be read again (`systemctl reload`), which happens without a signal: it is ignored, instead of ending the process.

use std::io::{IsTerminal as _, stderr, stdin};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tokens that the signals cancel.
#[derive(Debug)]
pub struct Signals {
    /// Cancelled by the first signal.
    pub shutdown: CancellationToken,
    /// Cancelled by the second signal.
    pub now: CancellationToken,
}

impl Signals {
    /// Installs the signal handlers. Must be called within a runtime.
    ///
    /// # Errors
    /// A handler cannot be installed.
    pub fn watch() -> std::io::Result<Self> {
        let (mut term, mut int) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let mut hangup = signal(SignalKind::hangup())?;
        let has_terminal = stdin().is_terminal() || stderr().is_terminal();
        let (shutdown, now) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [shutdown.clone(), now.clone()];
        tokio::spawn(async move {
            for token in tokens {
                loop {
                    tokio::select! {
                        _ = term.recv() => break,
                        _ = int.recv() => break,
                        _ = hangup.recv() => {}
                    }
                    if has_terminal {
                        break;
                    }
                    tracing::info!(
                        "ignored SIGHUP: changes of the configuration are noticed without a signal"
                    );
                }
                token.cancel();
            }
        });
        Ok(Self { shutdown, now })
    }
}
