//! A publisher as HTTP.md describes it: it repeats unacknowledged publishes with the same key, and knows which outcomes are
//! unknown.

use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::{Client, header::HeaderMap};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// Time-out of one attempt of [`Publish::send_retrying`] longer than the broker's own deadline of 10 s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(12);
/// Pause between two attempts. `Retry-After` is ignored, so that as many attempts as possible meet the fault.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// What the broker answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The body as JSON; `null` where it is none.
    pub json: Value,
}

impl Answer {
    /// Reads an answer to its end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn read(response: reqwest::Response) -> Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?;
        Ok(Self { status, headers, json: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }

    /// The cursor of a stored event.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.json["cursor"].as_str()
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// How a publish that is repeated ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Acknowledged: stored under this cursor.
    Stored {
        /// Its cursor.
        cursor: String,
        /// Whether an earlier try had stored it.
        duplicate: bool,
    },
    /// A rule of the API is broken; nothing is stored.
    Refused(Answer),
    /// Every try was answered with "nothing was stored", or with no connection, until the deadline.
    NotStored,
    /// At least one try may have been stored, none was acknowledged.
    Unknown,
}

/// One event, or one batch, to be published.
#[derive(Clone, Debug, Default)]
pub struct Publish {
    body: Vec<u8>,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
}

impl Publish {
    /// An event with `body` as its data.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it a topic.
    #[must_use]
    pub fn topic(self, topic: &str) -> Self {
        self.query("topic", topic)
    }

    /// Gives it a type.
    #[must_use]
    pub fn kind(self, kind: &str) -> Self {
        self.query("type", kind)
    }

    /// Gives it an idempotency key.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    /// Sends it once.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn send(&self, client: &Client, url: &str) -> Result<Answer> {
        Answer::read(self.request(client, url).send().await?).await
    }

    /// Sends it to `urls` in turn until the outcome is certain or `within` has passed. It must have a key.
    pub async fn send_retrying(
        &self,
        client: &Client,
        urls: &[String],
        within: Duration,
    ) -> Outcome {
        let deadline = Instant::now() + within;
        let mut doubtful = false;
        let first = fastrand::usize(..urls.len());
        for url in urls.iter().cycle().skip(first) {
            match self.attempt(client, url).await {
                Attempt::Done(outcome) => return outcome,
                Attempt::NotStored => {}
                Attempt::Doubtful => doubtful = true,
            }
            if Instant::now() >= deadline {
                break;
            }
            sleep(RETRY_INTERVAL).await;
        }
        if doubtful { Outcome::Unknown } else { Outcome::NotStored }
    }

    fn request(&self, client: &Client, url: &str) -> reqwest::RequestBuilder {
        let mut request = client.post(url).query(&self.query).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    async fn attempt(&self, client: &Client, url: &str) -> Attempt {
        let answer = match self.request(client, url).timeout(ATTEMPT_TIMEOUT).send().await {
            Ok(response) => Answer::read(response).await,
            Err(error) if error.is_connect() => return Attempt::NotStored,
            Err(_) => return Attempt::Doubtful,
        };
        let Ok(answer) = answer else {
            return Attempt::Doubtful;
        };
        match (answer.status, answer.cursor()) {
            (201, Some(cursor)) => Attempt::Done(Outcome::Stored {
                cursor: cursor.to_owned(),
                duplicate: answer.json["duplicate"] == true,
            }),
            (429 | 503, _) => Attempt::NotStored,
            (400..500, _) => Attempt::Done(Outcome::Refused(answer)),
            _ => Attempt::Doubtful,
        }
    }
}

/// How one try ended.
enum Attempt {
    Done(Outcome),
    NotStored,
    Doubtful,
}

/// Publishes `data` once; `parameters` go into the query.
///
/// # Errors
/// When no response arrives.
pub async fn publish(url: &str, data: &str, parameters: &[(&str, &str)]) -> Result<Answer> {
    let event = Publish::new(data);
    let event = parameters.iter().fold(event, |event, (name, value)| event.query(name, value));
    event.send(&super::client(super::Version::Http1), url).await
}

/// Publishes `data` once; it must be stored.
///
/// # Errors
/// When no response arrives, or one that is not `201`.
pub async fn created(url: &str, data: &str, parameters: &[(&str, &str)]) -> Result<Answer> {
    let answer = publish(url, data, parameters).await?;
    anyhow::ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    Ok(answer)
}

/// Publishes `data` under `key` until it is acknowledged, and returns its cursor.
///
/// # Errors
/// When it is refused, or not acknowledged within `within`.
pub async fn publish_retrying(
    urls: &[String],
    data: &str,
    parameters: &[(&str, &str)],
    key: &str,
    within: Duration,
) -> Result<String> {
    let event = Publish::new(data).key(key);
    let event = parameters.iter().fold(event, |event, (name, value)| event.query(name, value));
    let outcome = event.send_retrying(&super::client(super::Version::Http1), urls, within).await;
    let cursor = match &outcome {
        Outcome::Stored { cursor, .. } => Some(cursor.clone()),
        _ => None,
    };
    cursor.with_context(|| format!("not acknowledged: {outcome:?}"))
}
