//! Requests as text: written for the servers, and taken apart by the floor.

use std::borrow::Cow;

/// The channel that every case uses; the others are there where a case asks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Main,
    Small,
    /// One of many.
    Numbered(u32),
}

impl Channel {
    /// Its name in the broker's configuration.
    pub(crate) fn name(self) -> Cow<'static, str> {
        match self {
            Self::Main => "demo".into(),
            Self::Small => "small".into(),
            Self::Numbered(number) => format!("n{number}").into(),
        }
    }
}

/// The data of an event: a mark that nothing else on the wire has, its number, and filling up to `size` bytes.
pub(crate) fn data(number: u32, size: usize) -> String {
    format!("#{number:08} {}", "x".repeat(size.saturating_sub(10)))
}

/// A request without a body, for an event stream.
pub(crate) fn get(target: &str, cursor: Option<&str>) -> Vec<u8> {
    let cursor = cursor.map(|c| format!("Last-Event-ID: {c}\r\n")).unwrap_or_default();
    format!("GET {target} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n{cursor}\r\n")
        .into_bytes()
}

/// A request with a token.
pub(crate) fn authorized(request: &[u8], token: &str) -> Vec<u8> {
    let head = request.strip_suffix(b"\r\n").unwrap_or(request);
    [head, b"Authorization: Bearer ", token.as_bytes(), b"\r\n\r\n"].concat()
}

/// A request with a body.
pub(crate) fn post(target: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: bench\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The value of a header.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (have, value) = line.split_once(':')?;
        have.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The value of a query parameter in the request line.
pub(crate) fn query_value<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let target = head.split(' ').nth(1)?;
    let (_, query) = target.split_once('?')?;
    let mut parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters.find_map(|(have, value)| (have == name).then_some(value))
}
