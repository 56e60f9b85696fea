//! Logging with tracing, as text or JSON, on standard error.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::IsTerminal,
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use tracing_subscriber::EnvFilter;

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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    panic::set_hook(Box::new(log_panic));
    Ok(())
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
