//! `GET /log-level` tells the log filter; `PUT /log-level` replaces it, for a time or until the program ends.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Handled, Refused, body, only};
use crate::telemetry;

pub(super) const PATH: &str = "/log-level";
/// The longest time for which a filter applies: a day. It can be set again.
const MAX_SECONDS: u64 = 24 * 3600;

/// What is to apply.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelRequest {
    /// `None`: what is configured.
    filter: Option<String>,
    /// Such as `10m`. Without it, until the program ends.
    #[serde(rename = "for")]
    duration: Option<String>,
}

#[derive(Debug, Serialize)]
struct State {
    filter: String,
    configured: String,
    /// Whether it is not what is configured.
    temporary: bool,
    /// Until what is configured applies again, if that is limited.
    seconds_left: Option<u64>,
}

pub(super) fn handle(request: &Request<Bytes>) -> Handled {
    only(request, &[Method::GET, Method::PUT])?;
    if request.method() == Method::PUT {
        let wanted: LevelRequest = serde_json::from_slice(request.body()).map_err(|error| {
            Refused::bad_request(format!(
                "{error}: write {{\"filter\": \"debug\", \"for\": \"10m\"}}"
            ))
        })?;
        let duration = wanted.duration.as_deref().map(duration).transpose();
        set(wanted.filter, duration.map_err(Refused::bad_request)?)?;
    }
    let telemetry::Filters { configured, temporary, until } = telemetry::filters();
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    body(&State {
        temporary: temporary.is_some(),
        filter: temporary.unwrap_or_else(|| configured.clone()),
        configured,
        // Whole seconds, rounded up: something is left.
        seconds_left: left
            .map(|left| left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)),
    })
}

fn set(filter: Option<String>, duration: Option<Duration>) -> Result<(), Refused> {
    let Some(filter) = filter else {
        if duration.is_some() {
            return Err(Refused::bad_request("for needs a filter"));
        }
        telemetry::end_temporary(None);
        tracing::info!("the configured log filter applies again, as asked for at the control port");
        return Ok(());
    };
    let until = duration.map(|duration| Instant::now() + duration);
    let id = telemetry::set_temporary(&filter, until).map_err(Refused::bad_request)?;
    let seconds = duration.map(|duration| duration.as_secs());
    tracing::info!(filter, seconds, "applied a log filter, as asked for at the control port");
    if let Some(duration) = duration {
        tokio::spawn(async move {
            sleep(duration).await;
            if telemetry::end_temporary(Some(id)) {
                tracing::info!("the configured log filter applies again");
            }
        });
    }
    Ok(())
}

/// `90`, `90s`, `10m` or `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = digits.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    match seconds.filter(|seconds| (1..=MAX_SECONDS).contains(seconds)) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(format!("for {text}: write a time such as 90s, 10m or 2h, at most 24h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_a_limit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("10m", 600), ("24h", 86_400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "0", "m", "25h", "10 m", "-1m", "1d", "99999999999999999999h", "1m30s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
