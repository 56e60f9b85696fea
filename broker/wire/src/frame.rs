//! Events as bytes for the wire (WHATWG HTML, section 9.2.6). Pure.
//!
//! Only LF ends lines; an event is one buffer; `id:` is last, so that a block cut in two never moves a client's cursor;
//! data is split at CR LF, CR and LF, so that nothing in it can start a field of its own.

mod chunk;

pub use chunk::{Chunk, LAST_CHUNK};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::{cursor::Cursor, gap::Gap};

/// A comment: the heartbeat. One newline, no blank line: some clients take an empty block for an event.
pub const HEARTBEAT: Bytes = Bytes::from_static(b":\n");

/// Frames an event that passed the rules of [`crate::event`].
#[must_use]
pub fn event(event_type: Option<&str>, data: &str, cursor: &Cursor) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 64);
    if let Some(name) = event_type {
        field(&mut out, "event: ", name);
    }
    let mut rest = data;
    loop {
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        field(&mut out, "data: ", &rest[..end]);
        match &rest.as_bytes()[end..] {
            [] => break,
            [b'\r', b'\n', ..] => rest = &rest[end + 2..],
            _ => rest = &rest[end + 1..],
        }
    }
    field(&mut out, "id: ", &cursor.to_string());
    out.put_u8(b'\n');
    out.freeze()
}

/// The data of a frame made by [`event`], its lines joined by LF: what a client is given.
#[must_use]
pub fn data(frame: &[u8]) -> String {
    let text = std::str::from_utf8(frame).unwrap_or_default();
    let lines: Vec<_> = text.split('\n').filter_map(|line| line.strip_prefix("data: ")).collect();
    lines.join("\n")
}

/// Bytes of [`data`], without making it.
#[must_use]
pub fn data_len(frame: &[u8]) -> usize {
    let lines = frame.split(|b| *b == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
    lines.map(|line| line.len() + 1).sum::<usize>().saturating_sub(1)
}

fn field(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_slice(value.as_bytes());
    out.put_u8(b'\n');
}

/// The first bytes of every stream: how long to wait before a reconnect, and a comment, because Firefox does not call
/// a stream open before a byte of its body.
#[must_use]
pub fn opening(retry_ms: u64) -> Bytes {
    format!("retry: {retry_ms}\n:\n").into()
}

/// A control event; with `id` it moves the client's cursor.
fn control(name: &str, data: &impl Serialize, id: Option<&Cursor>) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map(|c| format!("id: {c}\n")).unwrap_or_default();
    format!("event: eventcast.{name}\ndata: {data}\n{id}\n")
}

/// Tells a gap and moves the client's cursor past it.
#[must_use]
pub fn gap(gap: &Gap, resumed_at: &Cursor) -> Bytes {
    control("gap", gap, Some(resumed_at)).into()
}

/// Moves the cursor of a client that no event has reached.
#[must_use]
pub fn cursor(at: &Cursor) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        cursor: String,
    }
    control("cursor", &Data { cursor: at.to_string() }, Some(at)).into()
}

/// A heartbeat that a script can see; it has no id.
#[must_use]
pub fn heartbeat(time: &str) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        time: &'a str,
    }
    control("heartbeat", &Data { time }, None).into()
}

/// The last words of a stream.
#[must_use]
pub fn closing(reason: &str, retry_ms: u64) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        reason: &'a str,
        retry_ms: u64,
    }
    let event = control("closing", &Data { reason, retry_ms }, None);
    format!("retry: {retry_ms}\n{event}").into()
}

#[cfg(test)]
mod tests;
