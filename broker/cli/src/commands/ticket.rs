//! `eventcast ticket`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, json};

use super::reach;
use crate::{answers::Ticket, channel::Query, failure::Failure, format::Format, output};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: reach::ReachOptions,
    /// Narrow the ticket to this topic or pattern; repeatable. Default: what the credential grants.
    #[arg(long)]
    topic: Vec<String>,
    /// Whether events without a topic are included.
    #[arg(long, value_name = "BOOL")]
    broadcast: Option<bool>,
    /// How long the ticket lives at most.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Whom it is for; needs a credential that may manage, and --topic.
    #[arg(long, requires = "topic")]
    subject: Option<String>,
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { reach, topic, broadcast, seconds, subject, output } = options;
    let channel = reach.channel().await?;
    let mut body = Map::new();
    if !topic.is_empty() {
        body.insert("topics".into(), json!(topic));
    }
    for (name, value) in [
        ("broadcast", broadcast.map(|value| json!(value))),
        ("seconds", seconds.map(|value| json!(value))),
        ("subject", subject.map(|value| json!(value))),
    ] {
        body.extend(value.map(|value| (name.to_owned(), value)));
    }
    let json = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
    let body = Bytes::from(serde_json::Value::Object(body).to_string());
    let answer: Ticket = channel.post("/tickets", &Query::default(), headers, body).await?;
    let absolute = |path: String| {
        if path.starts_with('/') { channel.url.absolute(&path) } else { path }
    };
    let ticket = Ticket { url: absolute(answer.url), renew: answer.renew.map(absolute), ..answer };
    match output {
        Format::Table => {
            output::note(&format!(
                "# opens a stream within a minute, and for clients with a cursor until {}",
                ticket.expires_at
            ));
            output::print(&format!("{}\n", ticket.url))
        }
        Format::Json | Format::Jsonl => {
            output::print(&(serde_json::to_string(&ticket).unwrap_or_default() + "\n"))
        }
    }
}
