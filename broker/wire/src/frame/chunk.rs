//! Frames as chunks of HTTP/1.1 (RFC 9112, section 7.1). A shard writes the same bytes to every socket. HTTP/2 and queries use the
//! frame inside the chunk. Pure.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// The chunk that ends a body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The form in which a frame is written to its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As a chunk of HTTP/1.1.
    Chunk,
    /// Unchanged, for HTTP/2.
    Frame,
}

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
        self.0.slice(self.frame_range())
    }

    /// The bytes that are written in `form`.
    #[must_use]
    pub fn bytes(&self, form: Form) -> &[u8] {
        match form {
            Form::Chunk => &self.0,
            Form::Frame => &self.0[self.frame_range()],
        }
    }

    /// As [`bytes`](Self::bytes), sharing the memory of the chunk.
    #[must_use]
    pub fn shared(&self, form: Form) -> Bytes {
        match form {
            Form::Chunk => self.0.clone(),
            Form::Frame => self.frame(),
        }
    }

    fn frame_range(&self) -> Range<usize> {
        let head = self.0.iter().position(|b| *b == b'\n').map_or(0, |at| at + 1);
        head..self.0.len().saturating_sub(2).max(head)
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

    #[test]
    fn a_chunk_is_written_whole_or_as_its_frame_and_may_be_a_part_of_a_page() {
        let chunk = Chunk::of(b"data: x\n\n");
        assert_eq!(chunk.bytes(Form::Chunk), b"9\r\ndata: x\n\n\r\n");
        assert_eq!(chunk.bytes(Form::Frame), b"data: x\n\n");
        for form in [Form::Chunk, Form::Frame] {
            assert_eq!(chunk.shared(form), chunk.bytes(form));
        }
        let page: Bytes = [b"before", &chunk.wire()[..], b"after"].concat().into();
        assert_eq!(chunk.within(&page, b"before".len()), chunk);
    }
}
