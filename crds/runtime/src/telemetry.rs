//! Logging with tracing, as text or JSON, on standard error. The filter can be replaced while the program runs.
//!
//! A line of JSON is one flat object: `timestamp`, `level`, `target` and `message`, and the fields of the event beside them
//! (docs/LOGS.md lists them).

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::IsTerminal,
    panic::{self, PanicHookInfo},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    reload,
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

/// The target of the access log. Whether there are such events is no matter of levels: the program decides it, so every filter passes
/// them.
pub const ACCESS_TARGET: &str = "eventcast::access";

/// The filter in use, and the one of the command line.
struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    at_start: String,
}

static FILTER: OnceLock<Filter> = OnceLock::new();

/// Starts logging with `filter`, such as `info` or `eventcast_broker=debug,warn`, and logs and counts panics.
///
/// # Errors
/// `filter` is invalid.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let parsed = parse_filter(filter).map_err(|e| format!("--log: {e}"))?;
    let (parsed, handle) = reload::Layer::new(parsed);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_target(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let access = filter_fn(|event| event.target() == ACCESS_TARGET);
    let access = access.with_max_level_hint(LevelFilter::INFO);
    let safe = filter_fn(|event| !may_show_secrets(event)).with_max_level_hint(LevelFilter::TRACE);
    let layer = layer.with_filter(parsed.or(access).and(safe));
    tracing_subscriber::registry().with(layer).init();
    // Logging is started once in a process: `init` panics otherwise.
    drop(FILTER.set(Filter { handle, at_start: filter.to_owned() }));
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Replaces the filter; `None` is the one that logging was started with.
///
/// # Errors
/// `filter` is invalid, and the last one stays.
pub fn set_filter(filter: Option<&str>) -> Result<(), String> {
    let Some(Filter { handle, at_start }) = FILTER.get() else { return Ok(()) };
    let parsed = parse_filter(filter.unwrap_or(at_start))?;
    handle.reload(parsed).map_err(|error| error.to_string())
}

/// Parses a filter. A word that is neither a level nor has one is refused: it would be a target, and everything else would be off.
///
/// # Errors
/// `filter` is invalid. The message says what to write.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    let parts = filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    for part in parts.clone().filter(|part| !part.contains(['=', '['])) {
        if part.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{part} is not a level: use off, error, warn, info, debug or trace, or target=level"
            ));
        }
    }
    if parts.count() == 0 {
        return Err("it is empty: use a level such as info".into());
    }
    EnvFilter::try_new(filter).map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_refused_and_not_taken_for_a_target() {
        for good in ["info", "WARN", "off", "info,async_nats=warn", "a::b=debug, warn", "a[b]=info"]
        {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in ["inof", "info,eventcast_broker", "a=loud", "", " , "] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
        let told = parse_filter("inof").unwrap_err();
        assert!(told.starts_with("inof is not a level: use off"), "{told}");
    }
}
