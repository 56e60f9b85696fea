//! `eventcast connections`.

use http::Method;

use super::control::{BrokerAnswers, ControlOptions, split_answers};
use crate::{
    connections::{List, merge},
    control,
    failure::Failure,
    format::RowFormat,
    output, text,
};

/// As many as brokers list.
const MAX_LISTED: u64 = 1000;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The channel. With --control-url it may be left out: all channels of the broker.
    #[arg(value_name = "NAMESPACE/NAME")]
    channel: Option<String>,
    /// Only streams that are behind the newest event, or whose clients do not read; those that are furthest behind first.
    #[arg(long)]
    slow: bool,
    /// Only streams of this subject.
    #[arg(long)]
    subject: Option<String>,
    /// Only streams that have asked for this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Streams that are listed.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MAX_LISTED))]
    limit: u64,
    #[arg(long, short, value_enum, default_value_t = RowFormat::Table)]
    output: RowFormat,
    #[command(flatten)]
    control: ControlOptions,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { channel, slow, subject, topic, limit, output, control } = options;
    let brokers = control.brokers(channel.as_deref()).await?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    let given = [("channel", brokers.channel()), ("subject", subject), ("topic", topic)];
    for (name, value) in given {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    if slow {
        query.append_pair("slow", "true");
    }
    query.append_pair("limit", &limit.to_string());
    let target = format!("/connections?{}", query.finish());
    let listed = control::ask_all::<List>(&brokers.ports, &Method::GET, &target, None).await;
    let listed = split_answers(listed)?;
    let complete = listed.complete();
    let BrokerAnswers { answers, .. } = listed;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (connections, total) = merge(answers, slow, limit);
    output::print(&output.rows(&connections, text::connections))?;
    if connections.len() < total {
        let shown = connections.len();
        output::note(&format!("# {shown} of {total} streams: raise --limit, or select some"));
    }
    complete
}
