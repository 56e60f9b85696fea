//! Lines of events -> bodies of publish requests. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Events of a batch: half of what a channel accepts by default (`publishing.maxBatchEvents`).
const BATCH_EVENTS: usize = 500;
/// Bytes of a batch at which it is sent, far below what a channel accepts by default (`publishing.maxBatchBytes`).
const BATCH_BYTES: usize = 1 << 20;

/// Fields of `eventcast history` and `eventcast sub` that an event gets anew when it is published.
const OUTPUT_FIELDS: [&str; 3] = ["cursor", "time", "received"];

/// Lines that are sent in one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) body: String,
    /// The number of each line in the input, from 1.
    lines: Vec<u64>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lines.len() >= BATCH_EVENTS || self.body.len() >= BATCH_BYTES
    }

    /// Adds a line of the input. Blank ones are left out.
    ///
    /// # Errors
    /// The line is no JSON object.
    pub(crate) fn add(&mut self, number: u64, line: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|_| format!("line {number} is not UTF-8"))?;
        if text.trim().is_empty() {
            return Ok(());
        }
        let envelope = envelope(text).map_err(|error| {
            let form = r#"{"data": …, "topic"?, "type"?, "source"?, "ttl"?, "id"?}"#;
            format!("line {number} is not an event {form}: {error}")
        })?;
        self.body.push_str(&envelope);
        self.body.push('\n');
        self.lines.push(number);
        Ok(())
    }

    /// The line of the input that is `line` of the body, from 1.
    pub(crate) fn input_line(&self, line: u64) -> Option<u64> {
        let index = usize::try_from(line.checked_sub(1)?).ok()?;
        self.lines.get(index).copied()
    }

    /// The lines of the input, for people.
    pub(crate) fn shown(&self) -> String {
        match (self.lines.first(), self.lines.last()) {
            (Some(first), Some(last)) if first != last => format!("lines {first} to {last}"),
            (Some(first), _) => format!("line {first}"),
            _ => "no lines".to_owned(),
        }
    }
}

/// The line as an envelope, so that the output of `history` and `sub` can be published again. JSON values keep their text.
fn envelope(line: &str) -> Result<String, serde_json::Error> {
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(line)?;
    fields.retain(|name, value| {
        let is_absent = value.get() == "null" && name != "data";
        !is_absent && !OUTPUT_FIELDS.contains(&name.as_str())
    });
    serde_json::to_string(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_history_can_be_published() {
        let line = r#"{"cursor":"k-1-a","time":"2026-11-20T19:54:05Z","type":"a","topic":null,"source":"/s","id":null,"data":"1.0"}"#;
        assert_eq!(envelope(line).unwrap(), r#"{"data":"1.0","source":"/s","type":"a"}"#);
        let line = r#"{ "data" : {"n": 1.50e3, "x": null}, "unknown": 1 }"#;
        assert_eq!(envelope(line).unwrap(), r#"{"data":{"n": 1.50e3, "x": null},"unknown":1}"#);
        assert_eq!(envelope(r#"{"data":null}"#).unwrap(), r#"{"data":null}"#);
    }

    #[test]
    fn a_batch_knows_the_lines_of_the_input() {
        let mut batch = Batch::default();
        for (number, line) in [(1, "{\"data\":1}"), (2, "  "), (3, "{\"data\":2}")] {
            batch.add(number, line.as_bytes()).unwrap();
        }
        assert_eq!(batch.body, "{\"data\":1}\n{\"data\":2}\n");
        assert_eq!(
            (batch.input_line(2), batch.input_line(0), batch.input_line(3)),
            (Some(3), None, None)
        );
        assert_eq!(batch.shown(), "lines 1 to 3");
        assert!(batch.add(4, b"[1]").unwrap_err().starts_with("line 4 is not an event"));
        assert_eq!(batch.add(5, b"\xff"), Err("line 5 is not UTF-8".to_owned()));
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut batch = Batch::default();
        while !batch.is_full() {
            batch.add(1, b"{\"data\":1}").unwrap();
        }
        assert_eq!(batch.lines.len(), BATCH_EVENTS);
        let mut batch = Batch::default();
        batch.add(1, format!("{{\"data\":\"{}\"}}", "x".repeat(BATCH_BYTES)).as_bytes()).unwrap();
        assert!(batch.is_full());
    }
}
