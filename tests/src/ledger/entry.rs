//! Converts an event of the stream to an entry of the record, and checks the form of control events.

use anyhow::{Context as _, Result, bail, ensure};

use super::Seen;
use crate::sse::Event;

/// Why a stream ended whose grant has.
pub(super) const EXPIRED: &str = "closing: expired";

/// The entry for an event.
pub(super) fn of_event(event: &Event) -> Result<Seen> {
    let json = event.json()?;
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let id = || event.id.clone().context("no id");
    Ok(match event.event_type.as_str() {
        "eventcast.cursor" => {
            ensure!(text("cursor") == event.id, "cursor and id differ");
            Seen::Cursor(id()?)
        }
        "eventcast.gap" => {
            ensure!(text("resumed_at") == event.id, "resumed_at and id differ");
            let reason = text("reason").context("a gap without a reason")?;
            let lost = json["lost"].as_u64();
            ensure!(lost.is_some() || json["lost"].is_null(), "lost is neither number nor null");
            Seen::Gap { requested: text("requested"), resumed: id()?, lost, reason }
        }
        "eventcast.closing" => {
            Seen::Ended(format!("closing: {}", text("reason").context("closing without a reason")?))
        }
        "eventcast.heartbeat" => bail!("a heartbeat event that nobody asked for"),
        kind => {
            let number = json["number"].as_u64().context("data of another shape")?;
            Seen::Event { number, kind: kind.to_owned(), cursor: id()? }
        }
    })
}
