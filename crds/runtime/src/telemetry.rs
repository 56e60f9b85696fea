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

use parking_lot::Mutex;
use tokio::time::Instant;
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

/// The filter in use, and where it comes from.
struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    choice: Mutex<FilterChoice>,
}

static FILTER: OnceLock<Filter> = OnceLock::new();

/// Which filter applies: the temporary one, else the configured one, else that of the command line. Pure.
struct FilterChoice {
    at_start: String,
    configured: Option<String>,
    temporary: Option<Temporary>,
    last_id: u64,
}

/// A filter that was asked for while the program runs.
struct Temporary {
    filter: String,
    until: Option<Instant>,
    id: u64,
}

impl FilterChoice {
    fn new(at_start: &str) -> Self {
        Self { at_start: at_start.to_owned(), configured: None, temporary: None, last_id: 0 }
    }

    fn configured(&self) -> &str {
        self.configured.as_deref().unwrap_or(&self.at_start)
    }

    fn current(&self) -> &str {
        self.temporary.as_ref().map_or(self.configured(), |temporary| &temporary.filter)
    }

    /// Returns what [`end_temporary`] is called with.
    fn set_temporary(&mut self, filter: &str, until: Option<Instant>) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.temporary = Some(Temporary { filter: filter.to_owned(), until, id });
        id
    }

    /// Returns whether it was in use.
    fn end_temporary(&mut self, id: Option<u64>) -> bool {
        let ended = self.temporary.take_if(|temporary| id.is_none_or(|id| temporary.id == id));
        ended.is_some()
    }
}

/// The filters of a program.
#[derive(Clone, Debug)]
pub struct Filters {
    /// That of the configuration, or else of the command line.
    pub configured: String,
    /// The one that applies instead, if there is one.
    pub temporary: Option<String>,
    /// When the configured one applies again.
    pub until: Option<Instant>,
}

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
    drop(FILTER.set(Filter { handle, choice: Mutex::new(FilterChoice::new(filter)) }));
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Replaces the configured filter; `None` is the one that logging was started with. A temporary filter stays in use.
///
/// # Errors
/// `filter` is invalid, and the last one stays.
pub fn set_filter(filter: Option<&str>) -> Result<(), String> {
    let Some(state) = FILTER.get() else { return Ok(()) };
    filter.map(parse_filter).transpose()?;
    let mut choice = state.choice.lock();
    choice.configured = filter.map(str::to_owned);
    state.apply(&choice)
}

/// Replaces the filter in use, but not the configured one, until [`end_temporary`] is called with the number that is returned.
///
/// # Errors
/// `filter` is invalid, and the last one stays.
pub fn set_temporary(filter: &str, until: Option<Instant>) -> Result<u64, String> {
    let state = FILTER.get().ok_or("nothing is logged")?;
    parse_filter(filter)?;
    let mut choice = state.choice.lock();
    let id = choice.set_temporary(filter, until);
    state.apply(&choice)?;
    Ok(id)
}

/// The configured filter applies again, unless the temporary one with this number was replaced meanwhile; `None` ends any. Returns whether
/// there was one.
pub fn end_temporary(id: Option<u64>) -> bool {
    let Some(state) = FILTER.get() else { return false };
    let mut choice = state.choice.lock();
    choice.end_temporary(id) && state.apply(&choice).is_ok()
}

/// The filters of this program.
#[must_use]
pub fn filters() -> Filters {
    let choice = FILTER.get().map(|state| state.choice.lock());
    let temporary = choice.as_ref().and_then(|choice| choice.temporary.as_ref());
    Filters {
        configured: choice.as_ref().map_or_else(String::new, |c| c.configured().to_owned()),
        temporary: temporary.map(|temporary| temporary.filter.clone()),
        until: temporary.and_then(|temporary| temporary.until),
    }
}

impl Filter {
    /// Uses the filter of `choice`, which was valid when it was chosen.
    fn apply(&self, choice: &FilterChoice) -> Result<(), String> {
        self.handle.reload(parse_filter(choice.current())?).map_err(|error| error.to_string())
    }
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
    fn a_temporary_filter_is_in_use_until_it_ends() {
        let mut choice = FilterChoice::new("info");
        assert_eq!((choice.current(), choice.configured()), ("info", "info"));
        let first = choice.set_temporary("debug", None);
        choice.configured = Some("warn".into());
        assert_eq!((choice.current(), choice.configured()), ("debug", "warn"));
        let second = choice.set_temporary("trace", None);
        assert!(!choice.end_temporary(Some(first)), "it was replaced");
        assert_eq!(choice.current(), "trace");
        assert!(choice.end_temporary(Some(second)));
        assert_eq!(choice.current(), "warn");
        assert!(!choice.end_temporary(None));
    }

    #[test]
    fn a_mistyped_level_is_refused_and_not_taken_for_a_target() {
        for good in ["info", "WARN", "off", "info,async_nats=warn", "a::b=debug, warn", "a[b]=info"]
        {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in ["inof", "info,eventcast_broker", "a=loud", "", " , "] {
            assert!(parse_filter(bad).is_err(), "{bad}");
        }
        let message = parse_filter("inof").unwrap_err();
        assert!(message.starts_with("inof is not a level: use off"), "{message}");
    }
}
