//! Encodes events as `text/event-stream` (WHATWG HTML, section 9.2.6). Pure.
//!
//! Lines end with LF. `id:` comes last, so that an event that is cut off never advances a client's cursor. Data is split at CR LF,
//! CR and LF, so that nothing in it can start a new field.

mod chunk;

pub use chunk::{Chunk, Form, LAST_CHUNK};

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use crate::{
    cursor::Cursor,
    gap::Gap,
    trace_context::{TRACEPARENT, TraceContext},
};

/// The heartbeat, a comment. Without a blank line, because some clients treat an empty block as an event.
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

/// Puts a comment with the trace of an event at the head of its frame. Clients ignore comments; parsers can be asked for them.
#[must_use]
pub fn traced(trace: &TraceContext, frame: &[u8]) -> Bytes {
    [format!(": {TRACEPARENT} {trace}\n").as_bytes(), frame].concat().into()
}

/// The data of a frame of [`event`] as a client receives it: its lines, joined by LF.
#[must_use]
pub fn data(frame: &[u8]) -> String {
    let text = std::str::from_utf8(frame).unwrap_or_default();
    let lines: Vec<_> = text.split('\n').filter_map(|line| line.strip_prefix("data: ")).collect();
    lines.join("\n")
}

/// The length of [`data`] in bytes, without an allocation.
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

/// The first bytes of a stream: the time before a reconnect, and a comment, because Firefox does not open a stream before the first
/// byte of its body.
#[must_use]
pub fn opening(retry_ms: u64) -> Bytes {
    format!("retry: {retry_ms}\n:\n").into()
}

/// A control event. With `id`, it sets the client's cursor.
fn control(name: &str, data: &impl Serialize, id: Option<&Cursor>) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map(|c| format!("id: {c}\n")).unwrap_or_default();
    format!("event: eventcast.{name}\ndata: {data}\n{id}\n")
}

/// Declares a gap and moves the client's cursor past it.
#[must_use]
pub fn gap(gap: &Gap, resumed_at: &Cursor) -> Bytes {
    control("gap", gap, Some(resumed_at)).into()
}

/// Sets the cursor of a client that has received no event for a while.
#[must_use]
pub fn cursor(at: &Cursor) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        cursor: String,
    }
    control("cursor", &Data { cursor: at.to_string() }, Some(at)).into()
}

/// A heartbeat that scripts can see. It has no id.
#[must_use]
pub fn heartbeat(time: &str) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        time: &'a str,
    }
    control("heartbeat", &Data { time }, None).into()
}

/// Tells the client that its grant ends at `expires_at` (RFC 3339), in `in_ms` milliseconds, and where it can renew it: a path to
/// which it posts with a fresh credential; `None` if it cannot.
#[must_use]
pub fn expiring(expires_at: &str, in_ms: u64, renew: Option<&str>) -> Bytes {
    #[derive(Serialize)]
    struct Data<'a> {
        expires_at: &'a str,
        in_ms: u64,
        renew: Option<&'a str>,
    }
    control("expiring", &Data { expires_at, in_ms, renew }, None).into()
}

/// An event of the delivery probe, which the stream of the probe alone receives. It has no id.
#[must_use]
pub fn probe(number: u32) -> Bytes {
    #[derive(Serialize)]
    struct Data {
        number: u32,
    }
    control("probe", &Data { number }, None).into()
}

/// Announces that the server closes the stream.
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
