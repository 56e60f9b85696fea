//! Encodes the frames that we send (RFC 9113, section 6), and appends them to the output.

use std::io::IoSlice;

use h2::frame::{HEADER_LEN, Head, Kind, Reason, StreamId};

/// The largest payload of a frame that we send: every client accepts this size (RFC 9113, section 6.5.2).
pub(super) const MAX_FRAME: usize = 16 << 10;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;

fn head(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, length: usize) {
    Head::new(kind, flags, StreamId::from(stream)).encode(length, out);
}

/// Our settings.
pub(super) fn settings(out: &mut Vec<u8>, streams: u32, window: u32, head_bytes: u32) {
    let all = [
        (MAX_CONCURRENT_STREAMS, streams),
        (INITIAL_WINDOW_SIZE, window),
        (MAX_HEADER_LIST_SIZE, head_bytes),
    ];
    head(out, Kind::Settings, 0, 0, all.len() * 6);
    for (setting, value) in all {
        out.extend_from_slice(&setting.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn settings_ack(out: &mut Vec<u8>) {
    head(out, Kind::Settings, ACK, 0, 0);
}

pub(super) fn ping(out: &mut Vec<u8>, payload: [u8; 8], is_ack: bool) {
    head(out, Kind::Ping, if is_ack { ACK } else { 0 }, 0, payload.len());
    out.extend_from_slice(&payload);
}

/// `stream` 0 is the connection.
pub(super) fn window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    head(out, Kind::WindowUpdate, 0, stream, 4);
    out.extend_from_slice(&increment.to_be_bytes());
}

pub(super) fn reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    head(out, Kind::Reset, 0, stream, 4);
    out.extend_from_slice(&u32::from(reason).to_be_bytes());
}

pub(super) fn go_away(out: &mut Vec<u8>, last_stream: u32, reason: Reason) {
    head(out, Kind::GoAway, 0, 0, 8);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&u32::from(reason).to_be_bytes());
}

/// A header block, in as many frames as it needs.
pub(super) fn headers(out: &mut Vec<u8>, stream: u32, block: &[u8], ends_stream: bool) {
    let mut parts = block.chunks(MAX_FRAME).peekable();
    let (mut kind, mut flags) = (Kind::Headers, if ends_stream { END_STREAM } else { 0 });
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            flags |= END_HEADERS;
        }
        head(out, kind, flags, stream, part.len());
        out.extend_from_slice(part);
        (kind, flags) = (Kind::Continuation, 0);
    }
}

/// The first `bytes` of `slices`, in as many frames as they need. Returns where the last frame begins.
pub(super) fn data(
    out: &mut Vec<u8>,
    stream: u32,
    slices: &[IoSlice<'_>],
    bytes: usize,
) -> Option<usize> {
    let (mut left, mut in_frame, mut last) = (bytes, 0, None);
    for slice in slices {
        let mut slice: &[u8] = slice;
        while !slice.is_empty() && left > 0 {
            if in_frame == 0 {
                in_frame = left.min(MAX_FRAME);
                last = Some(out.len());
                head(out, Kind::Data, 0, stream, in_frame);
            }
            let (part, rest) = slice.split_at(slice.len().min(in_frame));
            out.extend_from_slice(part);
            (slice, in_frame, left) = (rest, in_frame - part.len(), left - part.len());
        }
    }
    last
}

/// Whether the frame at `at` is the last one.
pub(super) fn is_last(out: &[u8], at: usize) -> bool {
    let length = out
        .get(at..at + 3)
        .map(|l| usize::from(l[0]) << 16 | usize::from(l[1]) << 8 | usize::from(l[2]));
    length.is_some_and(|length| at + HEADER_LEN + length == out.len())
}

/// Makes the DATA frame at `at` the last of its stream.
pub(super) fn set_end_stream(out: &mut [u8], at: usize) {
    out[at + 4] |= END_STREAM;
}

/// An empty DATA frame that ends a stream.
pub(super) fn end_stream(out: &mut Vec<u8>, stream: u32) {
    head(out, Kind::Data, END_STREAM, stream, 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn data_frames_contain_the_first_bytes_of_the_slices(
            lengths in proptest::collection::vec(0_usize..20_000, 1..6),
            share in 0_usize..=100,
        ) {
            let parts: Vec<Vec<u8>> = lengths.iter().map(|n| (0..=250).cycle().take(*n).collect()).collect();
            let all = parts.concat();
            let bytes = all.len() * share / 100;
            let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let mut out = Vec::new();
            let last = data(&mut out, 7, &slices, bytes);
            prop_assert_eq!(last.is_some(), bytes > 0);
            prop_assert!(last.is_none_or(|last| is_last(&out, last)));
            let (mut rest, mut payload) = (&out[..], Vec::new());
            while !rest.is_empty() {
                let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
                prop_assert!(length > 0 && length <= MAX_FRAME);
                prop_assert_eq!(&rest[3..9], &[0, 0, 0, 0, 0, 7]);
                payload.extend_from_slice(&rest[9..9 + length]);
                rest = &rest[9 + length..];
            }
            prop_assert_eq!(&payload[..], &all[..bytes]);
        }
    }
}
