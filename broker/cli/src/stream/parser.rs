//! `text/event-stream` -> events (HTML Standard, section 9.2.6). Bounded; pure.

use std::time::Duration;

/// The largest event: 256 KiB of data is what a broker accepts by default, and a channel may allow more.
const MAX_EVENT_BYTES: usize = 32 << 20;

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// `message` if the stream names none.
    pub(crate) event_type: String,
    pub(crate) data: String,
    /// The last `id:` of the stream.
    pub(crate) id: Option<String>,
}

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Event(Event),
    /// The delay before a reconnect.
    Retry(Duration),
    /// A comment, such as a heartbeat.
    Comment,
}

/// The stream is none of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct TooLarge;

/// Reads a stream in pieces of any size.
#[derive(Debug)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// The last byte was CR: an LF after it belongs to the same line end.
    after_cr: bool,
    is_first_line: bool,
    event_type: String,
    data: String,
    id: Option<String>,
}

impl Parser {
    pub(crate) fn new() -> Self {
        Self {
            line: Vec::new(),
            after_cr: false,
            is_first_line: true,
            event_type: String::new(),
            data: String::new(),
            id: None,
        }
    }

    /// Reads the next piece, and adds what it completes to `items`.
    ///
    /// # Errors
    /// An event is too large.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], items: &mut Vec<Item>) -> Result<(), TooLarge> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && *first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if self.line.len() + self.data.len() > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
            let Some(end) = end else { return Ok(()) };
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            items.extend(self.line(&line));
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Option<Item> {
        let line = String::from_utf8_lossy(line);
        let mut line = line.as_ref();
        if std::mem::take(&mut self.is_first_line) {
            line = line.trim_start_matches('\u{feff}');
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Some(Item::Comment),
            "event" => value.clone_into(&mut self.event_type),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return value.parse().ok().map(|ms| Item::Retry(Duration::from_millis(ms)));
            }
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Item> {
        let mut event_type = std::mem::take(&mut self.event_type);
        let mut data = std::mem::take(&mut self.data);
        // Without data there is no event; its id counts all the same.
        data.pop()?;
        if event_type.is_empty() {
            "message".clone_into(&mut event_type);
        }
        Some(Item::Event(Event { event_type, data, id: self.id.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Item> {
        let (mut parser, mut items) = (Parser::new(), Vec::new());
        for piece in pieces {
            parser.feed(piece, &mut items).unwrap();
        }
        items
    }

    fn event(event_type: &str, data: &str, id: Option<&str>) -> Item {
        let id = id.map(str::to_owned);
        Item::Event(Event { event_type: event_type.into(), data: data.into(), id })
    }

    const STREAM: &str = "\u{feff}retry: 1500\n: hello\n\nevent: order.paid\ndata: {\"a\":1,\ndata:\"b\":2}\nid: k-1-a\n\n\
                          data\r\n\r\nid: k-2-b\n\ndata: x\r\rdata: y\nretry: 1s\nunknown: z\n\ndata: cut off";

    #[test]
    fn a_stream_is_read_as_the_standard_says() {
        let wanted = [
            Item::Retry(Duration::from_millis(1500)),
            Item::Comment,
            event("order.paid", "{\"a\":1,\n\"b\":2}", Some("k-1-a")),
            event("message", "", Some("k-1-a")),
            event("message", "x", Some("k-2-b")),
            event("message", "y", Some("k-2-b")),
        ];
        assert_eq!(parse([STREAM.as_bytes()]), wanted);
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cuts in prop::collection::vec(0..STREAM.len(), 0..20)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|cut| &STREAM.as_bytes()[cut[0]..cut[1]]);
            prop_assert_eq!(parse(pieces), parse([STREAM.as_bytes()]));
        }
    }

    #[test]
    fn an_event_has_a_largest_size() {
        let (mut parser, mut items) = (Parser::new(), Vec::new());
        let piece = vec![b'x'; MAX_EVENT_BYTES / 2];
        assert_eq!(parser.feed(&piece, &mut items), Ok(()));
        assert_eq!(parser.feed(&piece, &mut items), Ok(()));
        assert_eq!(parser.feed(b"x", &mut items), Err(TooLarge));
    }
}
