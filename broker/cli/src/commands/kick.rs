//! `eventcast kick`.

use http::Method;
use serde::Deserialize;
use serde_json::{Map, json};

use super::control::{ControlOptions, split_answers};
use crate::{
    connections::ClosedBy, control, failure::Failure, format::RowFormat, output,
    printable::counted, text,
};

#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whom").required(true).multiple(true))]
pub(crate) struct Options {
    /// The channel.
    #[arg(value_name = "NAMESPACE/NAME")]
    channel: String,
    /// Ids of streams, as `eventcast connections` shows them.
    #[arg(value_name = "ID", group = "whom")]
    ids: Vec<String>,
    /// The streams of this subject.
    #[arg(long, group = "whom")]
    subject: Option<String>,
    /// The streams that have asked for this topic, or for this pattern.
    #[arg(long, group = "whom")]
    topic: Option<String>,
    /// All streams of the channel.
    #[arg(long, group = "whom", conflicts_with_all = ["ids", "subject", "topic"])]
    all: bool,
    #[arg(long, short, value_enum, default_value_t = RowFormat::Table)]
    output: RowFormat,
    #[command(flatten)]
    control: ControlOptions,
}

/// What a broker has done.
#[derive(Clone, Debug, Deserialize)]
struct Closed {
    closed: u64,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { channel, ids, subject, topic, all: _, output, control } = options;
    let brokers = control.brokers(Some(&channel)).await?;
    let mut selection = Map::new();
    let given = [("channel", brokers.channel()), ("subject", subject), ("topic", topic)];
    selection.extend(given.into_iter().filter_map(|(name, v)| Some((name.into(), json!(v?)))));
    if !ids.is_empty() {
        selection.insert("ids".into(), json!(ids));
    }
    let (target, body) = ("/connections/close", json!(selection));
    let closed =
        control::ask_all::<Closed>(&brokers.ports, &Method::POST, target, Some(&body)).await;
    let closed = split_answers(closed)?;
    let rows = closed
        .answers
        .iter()
        .map(|(broker, Closed { closed })| ClosedBy { broker: broker.clone(), closed: *closed });
    let rows: Vec<_> = rows.collect();
    output::print(&output.rows(&rows, |rows, _| text::closed(rows)))?;
    closed.complete()?;
    let total: u64 = rows.iter().map(|row| row.closed).sum();
    let missing = (ids.len() as u64).saturating_sub(total);
    match missing {
        0 => Ok(()),
        missing => {
            let what = counted(missing, "id");
            Err(Failure::failed(format!("{what} of no open stream of {channel}")))
        }
    }
}
