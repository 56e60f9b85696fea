//! `eventcast status`.

use jiff::Timestamp;

use super::reach::ClusterOptions;
use crate::{brokers, failure::Failure, output, text};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The channel.
    #[arg(value_name = "NAMESPACE/NAME")]
    channel: String,
    #[command(flatten)]
    cluster: ClusterOptions,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { channel, cluster: options } = options;
    let cluster = options.connect().await?;
    let name = options.name(&channel, &cluster)?;
    let channel = cluster.channel(&name).await?;
    let mut unknown = Vec::new();
    let pods = cluster.brokers(&channel).await.unwrap_or_else(|error| {
        unknown.push(format!("the brokers cannot be listed: {error}"));
        Vec::new()
    });
    let brokers = brokers::ask(&cluster, &pods).await;
    let events = cluster.events(&name).await.unwrap_or_else(|error| {
        unknown.push(format!("Events cannot be listed: {error}"));
        Vec::new()
    });
    output::print(&text::status(&text::View {
        name: &name,
        channel: &channel,
        brokers: &brokers,
        events: &events,
        unknown: &unknown,
        now: Timestamp::now(),
    }))
}
