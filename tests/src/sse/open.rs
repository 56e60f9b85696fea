//! The request of an event stream and its answer, through a client or over a socket of our own.

use std::{fmt, pin::Pin};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::Url;

use crate::http::{Http1Connection, Version, client};

/// Headers in order, names in lower case.
pub(super) type Headers = Vec<(String, String)>;

/// What to subscribe to, and how.
#[derive(Clone, Debug, Default)]
pub struct Subscribe {
    /// The events of a channel, with filters and `from=` in the query.
    pub url: String,
    /// Cursor to resume from.
    pub last_event_id: Option<String>,
    /// Version of HTTP.
    pub version: Version,
    /// Read the socket directly (HTTP/1.1) with a receive buffer of this many bytes.
    pub receive_buffer: Option<u32>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// An answer that is no event stream.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Status code.
    pub status: u16,
    /// Body, or what is wrong with the answer.
    pub body: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an event stream: {} {}", self.status, self.body)
    }
}

impl std::error::Error for Refused {}

/// Where the bytes come from.
pub(super) enum Source {
    Client(Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>),
    Raw(Box<Http1Connection>),
}

impl Source {
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Client(stream) => Ok(stream.next().await.transpose()?),
            Self::Raw(connection) => Ok(connection.chunk().await?.map(Bytes::from)),
        }
    }
}

/// Subscribes with a client.
pub(super) async fn with_client(request: &Subscribe) -> Result<(Source, Headers)> {
    let mut get = client(request.version).get(&request.url).header("Accept", "text/event-stream");
    if let Some(id) = &request.last_event_id {
        get = get.header("Last-Event-ID", id);
    }
    for (name, value) in &request.headers {
        get = get.header(name, value);
    }
    let answer = get.send().await?;
    let text = |value: &reqwest::header::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).into_owned()
    };
    let headers: Vec<_> =
        answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let status = answer.status().as_u16();
    if status != 200 || !is_event_stream(&headers) {
        bail!(Refused { status, body: answer.text().await.unwrap_or_default() });
    }
    Ok((Source::Client(Box::pin(answer.bytes_stream())), headers))
}

/// Subscribes over a socket, with HTTP/1.1.
pub(super) async fn over_socket(request: &Subscribe, buffer: u32) -> Result<(Source, Headers)> {
    let url: Url = request.url.parse()?;
    let host = format!("{}:{}", url.host_str().context("no host")?, url.port().unwrap_or(80));
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", url.path());
    let mut text =
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n");
    if let Some(id) = &request.last_event_id {
        text += &format!("Last-Event-ID: {id}\r\n");
    }
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    let mut connection = Http1Connection::connect_with(&host, Some(buffer)).await?;
    connection.send(text + "\r\n").await?;
    let head = connection.read_head().await?;
    if head.status != 200 || !is_event_stream(&head.headers) {
        let body = connection.body().await.unwrap_or_default();
        bail!(Refused { status: head.status, body: String::from_utf8_lossy(&body).into_owned() });
    }
    Ok((Source::Raw(Box::new(connection)), head.headers))
}

fn is_event_stream(headers: &[(String, String)]) -> bool {
    headers
        .iter()
        .any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream"))
}
