//! Events as they arrive, and gaps. Pure.

use serde_json::json;

use crate::{answers::Gap, format::Format, printable::printable, stream::Event};

/// An event that arrived at `time`: one line.
pub(crate) fn live_event(event: &Event, time: &str, format: Format) -> String {
    match format {
        Format::Table => {
            // 2026-11-20T19:54:05.123Z: people look at the time of day
            let time = time.split_once('T').map_or(time, |(_, time)| time.trim_end_matches('Z'));
            let (event_type, data) = (printable(&event.event_type), printable(&event.data));
            format!("{time}  {event_type}  {data}\n")
        }
        Format::Json | Format::Jsonl => {
            let (cursor, event_type, data) = (&event.id, &event.event_type, &event.data);
            format!(
                "{}\n",
                json!({"cursor": cursor, "received": time, "type": event_type, "data": data})
            )
        }
    }
}

/// A loss: two lines for standard error.
pub(crate) fn gap(gap: &Gap) -> String {
    let lost = match gap.lost {
        Some(1) => "1 event of the channel is lost".to_owned(),
        Some(count) => format!("{count} events of the channel are lost"),
        None => "events of the channel are lost, nobody knows how many".to_owned(),
    };
    let why = match gap.reason.as_str() {
        "expired" => "retention has dropped them",
        "new-incarnation" => "the log was recreated, or lost its newest events",
        "invalid-cursor" => "no broker of this channel has made the cursor",
        "invalid-event" => {
            "a message that was published directly to NATS breaks the rules of events"
        }
        _ => "the broker gives a reason that this version does not know",
    };
    let (requested, resumed) = (printable(&gap.requested), printable(&gap.resumed_at));
    let requested = if requested.is_empty() { "the start" } else { &requested };
    format!(
        "!! GAP ({}): {lost}, because {why}\n!! from {requested} to {resumed}; docs/HTTP.md, control events",
        printable(&gap.reason)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn events_and_gaps_match_the_golden_file() {
        let event = Event {
            event_type: "order.paid".into(),
            data: "{\"order\":7,\n\"total\":12}\u{1b}[31m".into(),
            id: Some("k7q2m8-7-3f9".into()),
        };
        let time = "2026-11-20T19:54:05.123Z";
        let mut text = live_event(&event, time, Format::Table);
        text += &live_event(&event, time, Format::Jsonl);
        for (lost, reason) in [
            (Some(12), "expired"),
            (None, "new-incarnation"),
            (Some(1), "invalid-event"),
            (Some(0), "invalid-cursor"),
            (None, "haunted"),
        ] {
            let of = Gap {
                requested: "k7q2m8-7-3f9".into(),
                resumed_at: "k7q2m8-19-aaa".into(),
                lost,
                reason: reason.into(),
            };
            text += &format!("{}\n", gap(&of));
        }
        golden("live", &text);
    }
}
