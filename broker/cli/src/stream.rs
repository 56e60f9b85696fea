//! Following a channel: one stream after the other, each from where the last one ended.

mod parser;

use std::{collections::VecDeque, time::Duration};

use http_body_util::BodyExt as _;
use tokio::time::{sleep, timeout};

pub(crate) use parser::{Event, Item, Parser};

use crate::{
    answers::{Closing, Expiring, Gap},
    channel::{Channel, Query, RequestError},
    client::Incoming,
    failure::Failure,
    retry::Backoff,
};

/// The longest time without a byte that can be right: the longest interval of heartbeats (300 s), randomised by a fifth.
const LONGEST_SILENCE: Duration = Duration::from_secs(400);

/// What a follower learns from its streams.
#[derive(Clone, Debug)]
pub(crate) enum StreamUpdate {
    /// An event of a publisher.
    Event(Event),
    /// The client has everything up to this cursor, and there is no event.
    Position(Option<String>),
    /// Events cannot be delivered.
    Gap(Gap),
    /// The first stream has begun, or one has ended or is about to, for people.
    Notice(String),
    /// The broker asks clients to stay away.
    Stop,
}

/// A client that follows a channel.
pub(crate) struct Follower {
    channel: Channel,
    query: Query,
    /// The cursor of the last event that was read, from which the next stream begins.
    position: Option<String>,
    connection: Option<Connection>,
    waiting: VecDeque<StreamUpdate>,
    backoff: Backoff,
    /// How long to wait before the next stream is opened.
    pause: Duration,
    /// What the broker has set with `retry:`.
    retry: Option<Duration>,
    /// How long a stream may be silent. It doubles when that was too short.
    max_silence: Duration,
    /// Whether there was a stream: before the first one, an error is likely to be one of the command line.
    has_connected: bool,
}

struct Connection {
    body: Incoming,
    parser: Parser,
}

impl Follower {
    pub(crate) fn new(channel: Channel, query: Query, max_silence: Duration) -> Self {
        Self {
            channel,
            query,
            position: None,
            connection: None,
            waiting: VecDeque::new(),
            backoff: Backoff::default(),
            pause: Duration::ZERO,
            retry: None,
            max_silence,
            has_connected: false,
        }
    }

    /// The next update. Reconnects as often as necessary.
    ///
    /// # Errors
    /// The broker refuses the request for good, or the first one cannot be sent.
    pub(crate) async fn next(&mut self) -> Result<StreamUpdate, Failure> {
        loop {
            if let Some(update) = self.waiting.pop_front() {
                return Ok(update);
            }
            let Some(connection) = &mut self.connection else {
                self.connect().await?;
                continue;
            };
            match timeout(self.max_silence, connection.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.read(bytes)?;
                    }
                }
                Ok(None | Some(Err(_))) => self.reconnect("the stream has ended", self.retry),
                Err(_) => {
                    let seconds = self.max_silence.as_secs();
                    self.max_silence = (self.max_silence * 2).min(LONGEST_SILENCE);
                    let why = format!("nothing has arrived for {seconds} s, not even a heartbeat");
                    self.reconnect(&why, self.retry);
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        sleep(std::mem::take(&mut self.pause)).await;
        // The position has precedence over `from`, which stands for the first stream alone.
        match self.channel.subscribe(&self.query, self.position.as_deref()).await {
            Ok(Some(response)) => {
                if !std::mem::replace(&mut self.has_connected, true) {
                    let notice = format!("subscribed to {}", self.channel.url.shown());
                    self.waiting.push_back(StreamUpdate::Notice(notice));
                }
                self.connection =
                    Some(Connection { body: response.into_body(), parser: Parser::new() });
            }
            Ok(None) => self.waiting.push_back(StreamUpdate::Stop),
            Err(error) => {
                let is_answer = matches!(error, RequestError::Refused(_));
                if !error.is_temporary() || (!self.has_connected && !is_answer) {
                    return Err(error.into());
                }
                let asked = if is_answer { error.retry_after() } else { self.retry };
                self.reconnect(&error.to_string(), asked);
            }
        }
        Ok(())
    }

    /// There is no stream: the next one is opened after a pause.
    fn reconnect(&mut self, why: &str, asked: Option<Duration>) {
        self.connection = None;
        self.pause = self.backoff.next(asked, fastrand::f64());
        let seconds = self.pause.as_secs_f64();
        let notice = format!("{why}; reconnecting in {seconds:.1} s");
        self.waiting.push_back(StreamUpdate::Notice(notice));
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        self.backoff.reset();
        let mut items = Vec::new();
        connection
            .parser
            .feed(bytes, &mut items)
            .map_err(|error| Failure::failed(error.to_string()))?;
        for item in items {
            match item {
                Item::Comment => {}
                Item::Retry(delay) => self.retry = Some(delay),
                Item::Event(event) => self.accept(event),
            }
        }
        Ok(())
    }

    fn accept(&mut self, event: Event) {
        if let Some(id) = event.id.clone().filter(|id| !id.is_empty()) {
            self.position = Some(id);
        }
        let Some(control) = event.event_type.strip_prefix("eventcast.") else {
            self.waiting.push_back(StreamUpdate::Event(event));
            return;
        };
        let data = event.data.as_str();
        self.waiting.push_back(match control {
            "gap" => match serde_json::from_str::<Gap>(data) {
                Ok(gap) => StreamUpdate::Gap(gap),
                // A loss is never silent, whatever a newer broker says of it.
                Err(_) => StreamUpdate::Gap(Gap {
                    requested: String::new(),
                    resumed_at: self.position.clone().unwrap_or_default(),
                    lost: None,
                    reason: "unknown".into(),
                }),
            },
            "closing" => match serde_json::from_str::<Closing>(data) {
                Ok(closing) => {
                    self.retry = closing.retry_ms.map(Duration::from_millis).or(self.retry);
                    StreamUpdate::Notice(format!(
                        "the broker closes the stream ({})",
                        closing.reason
                    ))
                }
                Err(_) => StreamUpdate::Notice("the broker closes the stream".into()),
            },
            "expiring" => {
                let until = serde_json::from_str::<Expiring>(data).ok();
                let until = until.map_or_else(|| "soon".to_owned(), |expiring| expiring.expires_at);
                StreamUpdate::Notice(format!(
                    "the credential ends at {until}; the next stream reads the token again"
                ))
            }
            _ => StreamUpdate::Position(event.id),
        });
    }
}
