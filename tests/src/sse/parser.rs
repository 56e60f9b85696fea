//! Parses bytes into events. Chunks may end anywhere; a block that the end of the connection cuts is not dispatched.
//!
//! Rejected: CR, NUL, invalid UTF-8, a BOM at the beginning, unknown fields, fields without a value, an `id:` that is not the
//! last field of its block or is in a block without data, an event without an id that is not a control event, a control event
//! with an id that must not move the cursor, and comments between the fields of a block.

use anyhow::{Context as _, Result, bail, ensure};

use super::Event;

/// Control events that carry a cursor; the others must not.
const WITH_ID: [&str; 2] = ["eventcast.cursor", "eventcast.gap"];
/// Control events that carry none.
const WITHOUT_ID: [&str; 3] = ["eventcast.heartbeat", "eventcast.closing", "eventcast.expiring"];

/// What a stream consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A dispatched event.
    Event(Event),
    /// `retry:`, in milliseconds. Comes before the event of its block.
    Retry(u64),
    /// A comment, without its colon.
    Comment(String),
}

/// The state between two chunks.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    block: Block,
    began: bool,
}

#[derive(Debug, Default)]
struct Block {
    raw: String,
    event_type: Option<String>,
    data: Option<String>,
    id: Option<String>,
}

impl Parser {
    /// Parses the next bytes; returns what they complete.
    ///
    /// # Errors
    /// When the bytes are something that the broker must never send.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    let text = std::str::from_utf8(&line).context("invalid UTF-8")?;
                    ensure!(self.began || !text.starts_with('\u{feff}'), "a BOM");
                    self.began = true;
                    let item = self.block.take(text);
                    item.with_context(|| format!("line {text:?} after {:?}", self.block.raw))
                        .map(|found| items.extend(found))?;
                }
                b'\r' => bail!("a CR after {:?}", String::from_utf8_lossy(&self.line)),
                0 => bail!("a NUL after {:?}", String::from_utf8_lossy(&self.line)),
                other => self.line.push(*other),
            }
        }
        Ok(items)
    }
}

impl Block {
    /// One line.
    fn take(&mut self, line: &str) -> Result<Option<Item>> {
        if line.is_empty() {
            return std::mem::take(self).dispatch();
        }
        if let Some(comment) = line.strip_prefix(':') {
            ensure!(self.is_empty(), "a comment between the fields of a block");
            return Ok(Some(Item::Comment(comment.to_owned())));
        }
        self.raw.push_str(line);
        self.raw.push('\n');
        ensure!(self.id.is_none(), "a field after the id");
        let (name, value) = line.split_once(':').context("a field without a value")?;
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if let Some(lines) = &mut self.data {
                    lines.push('\n');
                    lines.push_str(value);
                } else {
                    self.data = Some(value.to_owned());
                }
            }
            "event" => {
                ensure!(self.event_type.is_none() && self.data.is_none(), "event: twice, or late");
                ensure!(!value.is_empty() && value != "message", "an event: that says nothing");
                self.event_type = Some(value.to_owned());
            }
            "id" => {
                ensure!(self.data.is_some(), "an id without data");
                ensure!((1..=64).contains(&value.len()), "an id of {} characters", value.len());
                ensure!(
                    value.bytes().all(|b| b.is_ascii_graphic()),
                    "an id that is not visible ASCII"
                );
                self.id = Some(value.to_owned());
            }
            "retry" => {
                ensure!(value.bytes().all(|b| b.is_ascii_digit()), "a retry that is no number");
                return Ok(Some(Item::Retry(value.parse().context("a retry that is no number")?)));
            }
            other => bail!("unknown field {other:?}"),
        }
        Ok(None)
    }

    fn is_empty(&self) -> bool {
        self.event_type.is_none() && self.data.is_none() && self.id.is_none()
    }

    /// The empty line.
    fn dispatch(self) -> Result<Option<Item>> {
        let Some(data) = self.data else {
            ensure!(self.event_type.is_none(), "an event: without data");
            return Ok(None);
        };
        let event_type = self.event_type.unwrap_or_else(|| "message".to_owned());
        let (raw, id) = (self.raw, self.id);
        if WITHOUT_ID.contains(&event_type.as_str()) {
            ensure!(id.is_none(), "an id on {raw:?}");
        } else {
            let known = WITH_ID.contains(&event_type.as_str());
            ensure!(
                known || !event_type.starts_with("eventcast."),
                "unknown control event {raw:?}"
            );
            ensure!(id.is_some(), "no id on {raw:?}");
        }
        Ok(Some(Item::Event(Event { event_type, data, id, raw })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Item>> {
        // byte by byte: chunk borders must not matter
        let mut parser = Parser::default();
        let items: Result<Vec<Vec<Item>>> =
            text.as_bytes().iter().map(|byte| parser.feed(&[*byte])).collect();
        Ok(items?.into_iter().flatten().collect())
    }

    #[test]
    fn a_stream_of_everything() {
        let text = "retry: 2100\n:\n\nevent: order.paid\ndata: {\ndata:  a\ndata:\ndata: }\nid: e-1-a\n\n:\n\
                    data: x\nid: e-2-b\n\nevent: eventcast.closing\nretry: 7\ndata: {}\n\ndata: cut";
        let items = parse(text).unwrap();
        assert_eq!(items[0], Item::Retry(2100));
        assert_eq!(items[1], Item::Comment(String::new()));
        let Item::Event(event) = &items[2] else { panic!("{items:?}") };
        assert_eq!((event.event_type.as_str(), event.data.as_str()), ("order.paid", "{\n a\n\n}"));
        assert_eq!(event.id.as_deref(), Some("e-1-a"));
        let Item::Event(event) = &items[4] else { panic!("{items:?}") };
        assert_eq!((event.event_type.as_str(), event.data.as_str()), ("message", "x"));
        assert_eq!(items[5], Item::Retry(7));
        let Item::Event(event) = &items[6] else { panic!("{items:?}") };
        assert!(event.is_control() && event.id.is_none());
        assert_eq!(items.len(), 7);
    }

    #[test]
    fn what_must_never_be_sent() {
        for bad in [
            "data: x\r\n",
            "data: \0\n",
            "\u{feff}data: x\n",
            "foo: x\n",
            "data\n",
            "data: x\n\n",
            "id: e-1-a\n\n",
            "data: x\nid: e-1-a\ndata: y\n",
            "data: x\nid: e-1-a\nid: e-1-a\n",
            "data: x\nid: e 1\n",
            "event: x\n:\ndata: x\n",
            "event: x\n\n",
            "event: message\ndata: x\n",
            "event: eventcast.cursor\ndata: {}\n\n",
            "event: eventcast.heartbeat\ndata: {}\nid: e-1-a\n\n",
            "event: eventcast.other\ndata: {}\nid: e-1-a\n\n",
            "retry: -1\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(Parser::default().feed(b"data: \xff\n").is_err());
        assert!(parse("data: \u{feff}x\nid: e-1-a\n\n").is_ok(), "inside data it is a character");
    }
}
