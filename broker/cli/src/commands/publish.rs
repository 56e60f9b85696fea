//! `eventcast pub`.

mod input;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::reach;
use crate::{
    answers::{Stored, StoredBatch},
    channel::{Channel, Query, RequestError},
    failure::Failure,
    format::Format,
    ndjson::Batch,
    output,
    retry::Backoff,
};
use input::{Input, Lines};

/// How long a publish is retried. The same key makes it safe: the event is stored once.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["data", "file", "ndjson"])))]
pub(crate) struct Options {
    #[command(flatten)]
    reach: reach::ReachOptions,
    /// The data of the event.
    #[arg(long, short, conflicts_with_all = ["file", "ndjson"])]
    data: Option<String>,
    /// A file with the data of the event; - is standard input.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Many events: one JSON object a line, {"data": …, "topic"?, "type"?, "source"?, "ttl"?, "id"?}, from --file or standard input. The output
    /// of `history -o jsonl` and `sub -o jsonl` is accepted.
    #[arg(long)]
    ndjson: bool,
    /// The topic. Default: a broadcast to all subscribers.
    #[arg(long)]
    topic: Option<String>,
    /// The type of the event. Default: message.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// The sender, for history and statistics.
    #[arg(long)]
    source: Option<String>,
    /// How long the event is kept: 90s, 10m, 2h, 7d. Default: as long as the channel keeps events.
    #[arg(long)]
    ttl: Option<String>,
    /// Idempotency key: within two minutes, unless the channel says otherwise, the same key is stored once. Default: a random one, for retries.
    #[arg(long)]
    key: Option<String>,
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { reach, data, file, ndjson, topic, event_type, source, ttl, key, output } =
        options;
    let mut query = Query::default();
    query.add_all("topic", &topic);
    query.add_all("type", &event_type);
    query.add_all("source", &source);
    query.add_all("ttl", &ttl);
    let is_named = key.is_some();
    let key = key.unwrap_or_else(|| format!("eventcast-{:032x}", fastrand::u128(..)));
    let publisher = Publisher { channel: reach.channel().await?, query, key, output };
    if ndjson {
        let input = Input::open(file.as_deref()).await?;
        // A repeated run with the same key must form the same batches, whatever the pace of the input.
        return publisher.lines(Lines::new(input, !is_named)).await;
    }
    let data = match data {
        Some(data) => data.into_bytes(),
        None => Input::open(file.as_deref()).await?.read_all().await?,
    };
    publisher.event(data.into()).await
}

struct Publisher {
    channel: Channel,
    query: Query,
    key: String,
    output: Format,
}

impl Publisher {
    async fn event(&self, data: Bytes) -> Result<(), Failure> {
        let stored: Stored = self.send("text/plain", &self.key, data).await?;
        self.print(&[stored])
    }

    async fn lines(&self, mut lines: Lines) -> Result<(), Failure> {
        let mut number = 0_u64;
        while let Some(batch) = lines.next().await? {
            // The first batch has the key as it stands.
            let key = match number {
                0 => self.key.clone(),
                number => format!("{}.{number}", self.key),
            };
            number += 1;
            let body = Bytes::from(batch.body.clone());
            let stored = self.send("application/x-ndjson", &key, body).await;
            let stored: StoredBatch = stored.map_err(|error| of_batch(error, &batch))?;
            self.print(&stored.events)?;
        }
        Ok(())
    }

    /// Sends until the answer is final, or the time is over.
    async fn send<T: DeserializeOwned>(
        &self,
        content_type: &'static str,
        key: &str,
        body: Bytes,
    ) -> Result<T, RequestError> {
        let headers = headers(content_type, key)?;
        let until = Instant::now() + RETRY_TIMEOUT;
        let mut backoff = Backoff::default();
        loop {
            let sent = self.channel.post("/events", &self.query, headers.clone(), body.clone());
            let error = match sent.await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = backoff.next(error.retry_after(), fastrand::f64());
            if !error.is_temporary() || Instant::now() + wait > until {
                return Err(error);
            }
            output::note(&format!("# {error}\n# trying again in {:.1} s", wait.as_secs_f64()));
            sleep(wait).await;
        }
    }

    fn print(&self, stored: &[Stored]) -> Result<(), Failure> {
        let line = |stored: &Stored| match self.output {
            Format::Json | Format::Jsonl => serde_json::to_string(stored).unwrap_or_default(),
            Format::Table => {
                let cursor = stored.cursor.as_deref().unwrap_or("stored");
                let mark = if stored.duplicate { "  duplicate" } else { "" };
                format!("{cursor}{mark}")
            }
        };
        output::print(&stored.iter().map(|stored| line(stored) + "\n").collect::<String>())
    }
}

fn headers(content_type: &'static str, key: &str) -> Result<HeaderMap, RequestError> {
    let is_valid = (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    let key = HeaderValue::from_str(key).ok().filter(|_| is_valid).ok_or(RequestError::Key)?;
    Ok(HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::HeaderName::from_static("idempotency-key"), key),
    ]))
}

/// The error of a batch, with the line of the input.
fn of_batch(mut error: RequestError, batch: &Batch) -> Failure {
    if let RequestError::Refused(problem) = &mut error
        && let Some(line) = problem.details.as_mut().and_then(|details| details.line.as_mut())
    {
        *line = batch.input_line(*line).unwrap_or(*line);
    }
    Failure::failed(format!("{}: {error}", batch.shown()))
}
