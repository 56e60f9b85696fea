//! Parses `from=` and `until=`, the range of the log that a query reads, and limits how much of it one request may read.

use super::{
    params::{Params, start, time},
    problem::Problem,
};
use crate::{
    broker::Broker,
    log::Start,
    query::{ScanBudget, Until},
};

/// Reads `from=` and `until=`. The default is the whole log.
pub(super) fn parse(params: &Params) -> Result<(Start, Until), Problem> {
    let now = crate::clock::now_nanos();
    let from = match params.one("from")? {
        None => Start::Earliest,
        Some(text) => start("from", text, now)?,
    };
    let until = match params.one("until")? {
        None => Until::Head,
        Some(text) => match (time(text), text.parse(), start("until", text, now)) {
            (Some(nanos), _, _) => Until::Time(nanos),
            (_, Ok(cursor), _) => Until::Cursor(cursor),
            (_, _, Ok(Start::Since(nanos))) => Until::Time(nanos),
            _ => {
                return Err(Problem::field(
                    "until",
                    "until must be a cursor, an RFC 3339 time (write its + as %2B in a URL), or a duration before now such as \
                     -10m (s, m, h, d).",
                ));
            }
        },
    };
    Ok((from, until))
}

/// What one request may read (`query.scanEvents`, `query.scanBytes`).
pub(super) fn budget(broker: &Broker) -> ScanBudget {
    let query = &broker.config().query;
    ScanBudget { events: query.scan_events, bytes: query.scan_bytes }
}
