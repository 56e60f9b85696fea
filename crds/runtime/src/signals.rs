//! Shutdown signals. The first SIGTERM or SIGINT starts a graceful shutdown, the second one ends the process at once.

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
        let (shutdown, now) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [shutdown.clone(), now.clone()];
        tokio::spawn(async move {
            for token in tokens {
                tokio::select! {
                    _ = term.recv() => {}
                    _ = int.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { shutdown, now })
    }
}
