//! Frames as chunks of HTTP/1.1 (RFC 9112, section 7.1). A shard writes the same bytes to every socket. HTTP/2 and queries use the
//! frame inside the chunk. Pure.

use bytes::{BufMut, Bytes, BytesMut};

/// The chunk that ends a body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A frame inside its chunk. Empty if there is no frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk(Bytes);

impl Chunk {
    /// Encodes `frame` as one chunk.
    #[must_use]
    pub fn of(frame: &[u8]) -> Self {
        if frame.is_empty() {
            return Self::default(); // an empty chunk would end the body
        }
        let mut out = BytesMut::with_capacity(frame.len() + 12);
        out.put_slice(format!("{:x}\r\n", frame.len()).as_bytes());
        out.put_slice(frame);
        out.put_slice(b"\r\n");
        Self(out.freeze())
    }

    /// The bytes of the chunk, as a shard writes them.
    #[must_use]
    pub fn wire(&self) -> &Bytes {
        &self.0
    }

    /// The frame without its chunk. Shares the memory of the chunk.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        let head = self.0.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
        self.0.slice(head..self.0.len().saturating_sub(2).max(head))
    }

    /// The same chunk as a slice of `whole`, where it starts at `at`.
    #[must_use]
    pub fn within(&self, whole: &Bytes, at: usize) -> Self {
        Self(whole.slice(at..at + self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_frame_is_decoded_unchanged(frame in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let chunk = Chunk::of(&frame);
            prop_assert_eq!(&chunk.frame()[..], &frame[..]);
            if !frame.is_empty() {
                let text = format!("{:x}\r\n", frame.len());
                prop_assert!(chunk.wire().starts_with(text.as_bytes()));
                prop_assert_eq!(chunk.wire().len(), text.len() + frame.len() + 2);
            }
        }
    }
}
