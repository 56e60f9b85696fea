//! Past events. Pure.

use super::table;

use crate::{answers::PastEvent, format::Format, printable::printable};

/// A page of events, with a header if it is the first one.
pub(crate) fn history(events: &[PastEvent], is_first: bool, format: Format) -> String {
    match format {
        Format::Json | Format::Jsonl => events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap_or_default() + "\n")
            .collect(),
        Format::Table => {
            let header = ["CURSOR", "TIME", "TYPE", "TOPIC", "SOURCE", "DATA"].map(str::to_owned);
            let rows = events.iter().map(|event| {
                let or_dash = |text: &Option<String>| text.as_deref().map_or("-".into(), printable);
                [
                    printable(&event.cursor),
                    printable(&milliseconds(&event.time)),
                    printable(&event.event_type),
                    or_dash(&event.topic),
                    or_dash(&event.source),
                    printable(&event.data),
                ]
            });
            let header = is_first.then_some(header);
            table(&header.into_iter().chain(rows).collect::<Vec<_>>())
        }
    }
}

/// A time (RFC 3339, in UTC) without what is shorter than a millisecond.
fn milliseconds(time: &str) -> String {
    match time.strip_suffix('Z').and_then(|time| time.split_once('.')) {
        Some((seconds, fraction)) => {
            format!("{seconds}.{}Z", fraction.chars().take(3).collect::<String>())
        }
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::golden;

    #[test]
    fn pages_match_the_golden_file() {
        let event = |cursor: &str, topic: Option<&str>, data: &str| PastEvent {
            cursor: cursor.into(),
            time: "2026-11-20T19:54:05.123456789Z".into(),
            event_type: "order.paid".into(),
            topic: topic.map(str::to_owned),
            source: topic.map(|_| "/shop".to_owned()),
            id: None,
            data: data.into(),
        };
        let events = [
            event("k7q2m8-7-3f9", Some("user.42"), "{\"order\":7}"),
            event("k7q2m8-1048576-3f9", None, "two\nlines"),
        ];
        let mut text = history(&events, true, Format::Table);
        text += &history(&events[..1], false, Format::Table);
        text += &history(&events, true, Format::Jsonl);
        golden("history", &text);
    }
}
