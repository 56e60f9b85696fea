//! Test harness: real processes, strict clients, and the ledger that records what every client received.
//!
//! - processes: [`nats`] (one server, a cluster of three), [`broker`] (the built binary), [`link`] (a connection that can be cut), [`fault`] (faults inside a program),
//!   [`kube`] (an API server), over [`process`] and [`ports`]; [`operator`] (the built binary; [`namespace`]: with all it needs; [`pool_brokers`]: with the brokers of a pool; [`simulated_brokers`], [`pods`]: with brokers that are only counts), [`e2e`] (a whole cluster, as its user has it); [`proxy`] (nginx, HAProxy and Envoy in front of brokers); [`collector`] (an OpenTelemetry Collector);
//! - credentials: [`access`] (tokens of any shape, key sets, a real OpenID provider);
//! - clients: [`http`] (bytes and publishing), [`sse`] (a strict event stream), [`metrics`] (scrapes), [`sinks`] (the broker's two sinks), [`tls`] (certificates, clients with TLS);
//! - checks: [`ledger`] (delivered + declared lost = published), with [`filter`] and [`cursor`], which share no code with
//!   the broker; [`chart`] renders and checks the Helm chart; [`golden`] compares generated text with files, which [`mod@reference`] makes; [`pages`] follows documents as a reader does.
//!
//! Tests wait for conditions, not for time to pass: [`eventually`].

pub mod access;
pub mod broker;
pub mod channel_folder;
pub mod chart;
pub mod clients;
pub mod collector;
pub mod cursor;
pub mod e2e;
pub mod fault;
pub mod filter;
pub mod golden;
pub mod http;
pub mod issuer;
pub mod kube;
pub mod ledger;
pub mod link;
pub mod logs;
pub mod metrics;
pub mod namespace;
pub mod nats;
pub mod operator;
pub mod pages;
pub mod pods;
pub mod pool_brokers;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod reference;
pub mod simulated_brokers;
pub mod sinks;
pub mod sse;
pub mod tls;
pub mod wire;

use std::{fmt::Display, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout_at};
use tracing_subscriber::EnvFilter;

/// Pause between two probes of [`eventually`].
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The result of a probe of [`eventually`]: `Option<T>` (`None`: not yet) or `Result<T, E>` (`Err`: not yet, and why).
pub trait Probe {
    /// The value that [`eventually`] returns.
    type Value;

    /// The value, or why there is none yet.
    ///
    /// # Errors
    /// The reason, as text.
    fn settle(self) -> Result<Self::Value, String>;
}

impl<T> Probe for Option<T> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "not yet".to_owned())
    }
}

impl<T, E: Display> Probe for Result<T, E> {
    type Value = T;

    fn settle(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Calls `probe` until it succeeds.
///
/// # Errors
/// After `within`, with `what` and the last reason.
pub async fn eventually<F, Fut>(
    what: &str,
    within: Duration,
    mut probe: F,
) -> Result<<Fut::Output as Probe>::Value>
where
    F: FnMut() -> Fut,
    Fut: Future,
    Fut::Output: Probe,
{
    let deadline = Instant::now() + within;
    let mut reason = "the first probe did not return".to_owned();
    loop {
        match timeout_at(deadline, probe()).await.map(Probe::settle) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(why)) => reason = why,
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {within:?} ({reason})");
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Sets up logging of the harness to stderr, filtered by `RUST_LOG`. Calling it again has no effect.
pub fn init_tracing() {
    // kube's client reports as an error what `eventually` waits for
    let quiet = || EnvFilter::new("warn,kube_client=off");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| quiet());
    // an error means that another test of this process was first
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_test_writer()
            .try_init(),
    );
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn eventually_gives_the_first_answer_or_the_last_reason() {
        let mut tries = 0;
        let third = eventually("third", Duration::from_secs(1), || {
            tries += 1;
            let answer = (tries == 3).then_some(tries);
            async move { answer }
        });
        assert_eq!(third.await.unwrap(), 3);

        let never = eventually("never", Duration::from_secs(1), || async {
            Err::<(), _>(anyhow::anyhow!("still closed"))
        });
        let error = never.await.unwrap_err().to_string();
        assert!(error.contains("never") && error.contains("still closed"), "{error}");
    }
}
