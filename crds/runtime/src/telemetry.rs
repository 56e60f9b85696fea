//! Logs by tracing, as text or JSON, on standard error.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::IsTerminal,
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use tracing_subscriber::EnvFilter;

use crate::supervise::message;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// Panics of this process.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// How many panics there were since [`start`], caught ones included.
#[must_use]
pub fn panics() -> u64 {
    PANICS.load(Relaxed)
}

/// Starts logging what `filter` lets through, as `info` or `eventcast_broker=debug,warn`.
///
/// # Errors
/// `filter` cannot be read.
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
    panic::set_hook(Box::new(tell_panic));
    Ok(())
}

/// Whoever catches a panic, or nobody does: it is counted, and a line of the log in the log's format.
fn tell_panic(info: &PanicHookInfo<'_>) {
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
