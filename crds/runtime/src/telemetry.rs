//! Logging with tracing, as text or JSON, on standard error.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::IsTerminal,
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::supervise::message;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Human-readable text.
    Text,
    /// One JSON object per line.
    Json,
}

/// The number of panics in this process.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// The number of panics since [`start`], including caught ones.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Relaxed)
}

/// Starts logging with `filter`, such as `info` or `eventcast_broker=debug,warn`, and logs and counts panics.
///
/// # Errors
/// `filter` is invalid.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|e| format!("--log: {e}"))?;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    let layer = layer.with_filter(filter.and(filter_fn(|event| !may_show_secrets(event))));
    tracing_subscriber::registry().with(layer).init();
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Whether an event of a library may have keys and tokens in it. It is not logged, whatever level is asked for.
fn may_show_secrets(event: &Metadata<'_>) -> bool {
    // async-nats logs messages at trace, h2 logs heads at debug.
    const LIMITS: [(&str, Level); 2] = [("async_nats", Level::DEBUG), ("h2", Level::INFO)];
    let library = event.target().split("::").next().unwrap_or_default();
    LIMITS.iter().any(|(name, most)| library == *name && *event.level() > *most)
}

/// Counts a panic and logs it in the format of the log, whether it is caught or not.
fn log_panic(info: &PanicHookInfo<'_>) {
    PANICS.fetch_add(1, Relaxed);
    let message = message(info.payload());
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let current = thread::current();
    let thread = current.name().unwrap_or_default();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, location, %backtrace, "panicked: {message}");
    } else {
        tracing::error!(thread, location, "panicked: {message}");
    }
}
