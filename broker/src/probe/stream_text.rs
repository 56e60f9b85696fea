//! Parses the stream of a probe for the events of the probe and the closing frame of the broker. Pure.

/// Longer lines do not occur in the stream of a probe.
const MAX_LINE_BYTES: usize = 4096;

/// Something that a probe looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// An event of the probe.
    Event(u32),
    /// The broker closes the stream.
    Closing,
}

/// The lines of a stream, put together from pieces.
#[derive(Default)]
pub(super) struct StreamText {
    line: Vec<u8>,
    is_probe: bool,
}

impl StreamText {
    /// Reads a piece of the stream.
    pub(super) fn read(&mut self, piece: &[u8], found: &mut Vec<Item>) {
        for byte in piece {
            if *byte != b'\n' {
                if self.line.len() < MAX_LINE_BYTES {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = std::str::from_utf8(&line).unwrap_or_default();
            if let Some(name) = line.strip_prefix("event: ") {
                self.is_probe = name == "eventcast.probe";
                if name == "eventcast.closing" {
                    found.push(Item::Closing);
                }
            } else if let Some(data) = line.strip_prefix("data: ").filter(|_| self.is_probe) {
                found.extend(number(data).map(Item::Event));
            }
        }
    }
}

fn number(data: &str) -> Option<u32> {
    let value: serde_json::Value = serde_json::from_str(data).ok()?;
    value["number"].as_u64()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use eventcast_wire::frame;

    use super::*;

    #[test]
    fn events_of_the_probe_are_found_however_the_stream_is_cut() {
        let text = [
            frame::opening(1000),
            frame::probe(1),
            frame::HEARTBEAT,
            frame::heartbeat("now"),
            frame::probe(2),
            frame::closing("draining", 1000),
        ]
        .concat();
        for size in 1..text.len() {
            let (mut stream, mut found) = (StreamText::default(), Vec::new());
            text.chunks(size).for_each(|piece| stream.read(piece, &mut found));
            assert_eq!(found, [Item::Event(1), Item::Event(2), Item::Closing], "{size}");
        }
    }

    #[test]
    fn a_long_line_takes_no_memory() {
        let (mut stream, mut found) = (StreamText::default(), Vec::new());
        stream.read(&vec![b'x'; 10 * MAX_LINE_BYTES], &mut found);
        assert!(stream.line.len() <= MAX_LINE_BYTES);
    }
}
