//! One subscription: a request, its response, and the cursor reached, over as many connections as needed.

use std::{collections::VecDeque, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    Event, Item, Parser, Subscribe,
    open::{self, Headers, Source},
};

/// Time until the head of the response.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// An open event stream.
pub struct EventStream {
    request: Subscribe,
    source: Source,
    headers: Headers,
    parser: Parser,
    queue: VecDeque<Event>,
    retry: Option<u64>,
    cursor: Option<String>,
    comments: u64,
}

impl EventStream {
    /// Subscribes over HTTP/1.1.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn connect(url: &str, last_event_id: Option<&str>) -> Result<Self> {
        let last_event_id = last_event_id.map(str::to_owned);
        Self::open(Subscribe { url: url.to_owned(), last_event_id, ..Subscribe::default() }).await
    }

    /// Subscribes.
    ///
    /// # Errors
    /// [`Refused`](super::Refused) for every response but a `200` with an event stream; otherwise the error of the connection.
    pub async fn open(request: Subscribe) -> Result<Self> {
        let opening = async {
            match request.receive_buffer {
                Some(bytes) => open::over_socket(&request, bytes).await,
                None => open::with_client(&request).await,
            }
        };
        let (source, headers) = timeout(HEAD_TIMEOUT, opening).await.context("no answer")??;
        let cursor = request.last_event_id.clone();
        Ok(Self {
            request,
            source,
            headers,
            parser: Parser::default(),
            queue: VecDeque::new(),
            retry: None,
            cursor,
            comments: 0,
        })
    }

    /// The next event, control events included; `None` at the end of the stream. Waits without a time limit.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When the connection breaks, or the stream contains something that the broker must never send.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                if event.id.is_some() {
                    self.cursor.clone_from(&event.id);
                }
                return Ok(Some(event));
            }
            let Some(bytes) = self.source.chunk().await? else {
                return Ok(None);
            };
            for item in self.parser.feed(&bytes)? {
                match item {
                    Item::Event(event) => self.queue.push_back(event),
                    Item::Retry(milliseconds) => self.retry = Some(milliseconds),
                    Item::Comment(_) => self.comments += 1,
                }
            }
        }
    }

    /// The next event within a time.
    ///
    /// # Errors
    /// As [`next`](Self::next), and when none arrives or the stream ends.
    pub async fn next_within(&mut self, within: Duration) -> Result<Event> {
        let next = timeout(within, self.next()).await;
        next.with_context(|| format!("no event within {within:?}"))??.context("the stream ended")
    }

    /// The next event of a publisher within a time; control events are passed over.
    ///
    /// # Errors
    /// As [`next_within`](Self::next_within).
    pub async fn next_data(&mut self, within: Duration) -> Result<Event> {
        self.find(within, |event| !event.is_control()).await
    }

    /// The next event of this type within a time; others are passed over.
    ///
    /// # Errors
    /// As [`next_within`](Self::next_within).
    pub async fn next_of(&mut self, event_type: &str, within: Duration) -> Result<Event> {
        self.find(within, |event| event.event_type == event_type).await
    }

    async fn find(&mut self, within: Duration, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        let deadline = Instant::now() + within;
        loop {
            let next = timeout_at(deadline, self.next()).await;
            let event = next.with_context(|| format!("no such event within {within:?}"))??;
            let event = event.context("the stream ended")?;
            if wanted(&event) {
                return Ok(event);
            }
        }
    }

    /// Subscribes again with the cursor reached, as a browser does. What was not read is dropped, as there.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn reconnect(self) -> Result<Self> {
        let request = Subscribe { last_event_id: self.cursor.clone(), ..self.request.clone() };
        drop(self);
        Self::open(request).await
    }

    /// Ends the connection with a reset where the socket is ours, otherwise by closing it. Returns the cursor reached.
    #[must_use]
    pub fn cut(self) -> Option<String> {
        if let Source::Raw(connection) = self.source {
            drop(connection.cut()); // a socket that is gone needs no cutting
        }
        self.cursor
    }

    /// A header of the answer.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let wanted = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers.iter().find(wanted).map(|(_, value)| value.as_str())
    }

    /// The id of the newest event read, or the one that was resumed from.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// The newest `retry:`.
    #[must_use]
    pub fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Comments so far: one at the start, then the heartbeats.
    #[must_use]
    pub fn comments(&self) -> u64 {
        self.comments
    }
}
