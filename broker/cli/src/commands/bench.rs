//! `eventcast bench` and `eventcast latency`.

use std::time::Duration;

use super::reach::ReachOptions;
use crate::{
    failure::Failure,
    format::RowFormat,
    load::{self, Plan},
    measured::Measured,
    output, text,
};

/// Connections that are opened without a question.
const MAX_UNCONFIRMED_SUBSCRIBERS: usize = 100;
/// Deliveries that are counted one by one.
const MAX_DELIVERIES: usize = 100_000_000;

/// Options that both commands have.
#[derive(Clone, Debug, clap::Args)]
struct LoadOptions {
    /// Bytes of data of each event.
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u32).range(64..=8_388_608))]
    size: u32,
    /// Topic of the events, which are in the log of the channel like any others.
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Type of the events.
    #[arg(long = "type", value_name = "TYPE", default_value = "bench")]
    event_type: String,
    /// How long the events are kept.
    #[arg(long, default_value = "60s")]
    ttl: String,
    #[arg(long, short, value_enum, default_value_t = RowFormat::Table)]
    output: RowFormat,
    #[command(flatten)]
    reach: ReachOptions,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Bench {
    /// Streams that are opened.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    subscribers: u32,
    /// Events in a second.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// How long events are published.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Open more than 100 streams.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    load: LoadOptions,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Latency {
    /// Events that are published, five in a second.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    #[command(flatten)]
    load: LoadOptions,
}

/// Many subscribers and a publisher.
pub(crate) async fn bench(options: Bench) -> Result<(), Failure> {
    let Bench { subscribers, rate, seconds, yes, load } = options;
    let (subscribers, events) = (subscribers as usize, rate as usize * seconds as usize);
    if subscribers > MAX_UNCONFIRMED_SUBSCRIBERS && !yes {
        return Err(Failure::usage(format!(
            "{subscribers} streams are a load for the broker and its clients: add --yes if you mean it"
        )));
    }
    if subscribers.saturating_mul(events) > MAX_DELIVERIES {
        return Err(Failure::usage(format!(
            "more than {MAX_DELIVERIES} deliveries: choose fewer --subscribers, --rate or --seconds"
        )));
    }
    let interval = Duration::from_secs(1) / rate;
    measure(load, subscribers, events, interval).await
}

/// One subscriber and a publisher.
pub(crate) async fn latency(options: Latency) -> Result<(), Failure> {
    let Latency { count, load } = options;
    measure(load, 1, count as usize, Duration::from_millis(200)).await
}

async fn measure(
    options: LoadOptions,
    subscribers: usize,
    events: usize,
    interval: Duration,
) -> Result<(), Failure> {
    let LoadOptions { size, topic, event_type, ttl, output, reach } = options;
    let channel = reach.channel().await?;
    let bytes = size as usize;
    let plan = Plan { subscribers, events, interval, bytes, topic, event_type, ttl };
    output::note(&format!("# publishing to {}", channel.url.shown()));
    let outcome = load::run(&channel, &plan).await?;
    if let Some(why) = &outcome.why {
        output::note(&format!("# {} publishes failed, the first one: {why}", outcome.failed));
    }
    let measured = Measured::new(subscribers, &outcome);
    let complete = measured.complete();
    let table = |rows: &[Measured], _| rows.iter().map(text::measured).collect();
    output::print(&output.rows(&[measured], table))?;
    complete
}
