//! Tracks the frames that an HTTP/2 client sends, to know whether it is within a request head. Pure.

/// Bytes of the header of a frame (RFC 9113, section 4.1).
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The frames that a client sends after the connection preface.
#[derive(Debug, Default)]
pub(super) struct FrameTracker {
    header: [u8; HEADER],
    /// Bytes of the frame header that have arrived.
    have: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    /// Whether a field block has begun and not ended.
    block: bool,
}

impl FrameTracker {
    /// Processes `bytes`, which follow the last ones. `on_data` is called with the payload length of each DATA frame that begins.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut on_data: impl FnMut(u32)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &bytes[n..];
            } else {
                if self.have == HEADER {
                    self.have = 0;
                }
                let n = (HEADER - self.have).min(bytes.len());
                self.header[self.have..][..n].copy_from_slice(&bytes[..n]);
                self.have += n;
                bytes = &bytes[n..];
                if self.have == HEADER {
                    self.begin();
                    if self.header[3] == DATA {
                        on_data(u32::try_from(self.left).unwrap_or(u32::MAX));
                    }
                }
            }
        }
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if kind == HEADERS || kind == CONTINUATION {
            self.block = flags & END_HEADERS == 0;
        }
    }

    /// Whether a head, or a frame that may be part of one, has begun and not ended. Bodies have a deadline of their own.
    pub(super) fn is_within_head(&self) -> bool {
        let within_frame = self.left > 0 || (1..HEADER).contains(&self.have);
        let is_body = self.have == HEADER && self.header[3] == DATA;
        self.block || (within_frame && !is_body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [.., a, b, c] = payload.to_be_bytes();
        [&[a, b, c, kind, flags, 0, 0, 0, 1], &*vec![0xff; payload]].concat()
    }

    #[test]
    fn a_head_lasts_from_its_first_to_its_last_byte() {
        let mut frames = FrameTracker::default();
        let head =
            [frame(4, 0, 12), frame(HEADERS, 0, 5), frame(CONTINUATION, END_HEADERS, 3)].concat();
        for (at, byte) in head.iter().enumerate() {
            let between = at == 0 || at == 9 + 12;
            assert_eq!(frames.is_within_head(), !between, "before byte {at}");
            frames.read(&[*byte], |_| {});
        }
        assert!(!frames.is_within_head());
        let mut lengths = Vec::new();
        frames.read(&frame(DATA, 0, 100)[..50], |length| lengths.push(length));
        assert_eq!(lengths, [100]);
        assert!(!frames.is_within_head(), "a body is not a head");
    }

    proptest! {
        #[test]
        fn the_sizes_of_reads_do_not_matter(kinds in proptest::collection::vec((0u8..12, any::<u8>(), 0usize..40), 1..20), cuts in proptest::collection::vec(1usize..30, 1..50)) {
            let all: Vec<u8> = kinds.iter().flat_map(|(k, f, n)| frame(*k, *f, *n)).collect();
            let (mut whole, mut cut) = (FrameTracker::default(), FrameTracker::default());
            whole.read(&all, |_| {});
            let mut rest = &all[..];
            for n in cuts.iter().cycle() {
                let n = (*n).min(rest.len());
                cut.read(&rest[..n], |_| {});
                rest = &rest[n..];
                if rest.is_empty() { break; }
            }
            prop_assert_eq!(whole.is_within_head(), cut.is_within_head());
            let last = kinds.iter().rev().find(|(k, _, _)| [HEADERS, CONTINUATION].contains(k));
            prop_assert_eq!(whole.is_within_head(), last.is_some_and(|(_, f, _)| f & END_HEADERS == 0));
        }
    }
}
