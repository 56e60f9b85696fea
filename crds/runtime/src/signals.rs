//! The first SIGTERM or SIGINT begins the shutdown, the second ends the process at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the signals ask for.
#[derive(Debug)]
pub struct Signals {
    /// End in good order.
    pub shutdown: CancellationToken,
    /// End now.
    pub now: CancellationToken,
}

impl Signals {
    /// Watches from now on; needs a runtime.
    ///
    /// # Errors
    /// The signals cannot be watched.
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
