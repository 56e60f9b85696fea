//! `eventcast top`.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::{Instant, sleep};

use super::reach::ClusterOptions;
use crate::{
    brokers::{self, Broker, MAX_BROKERS},
    failure::Failure,
    format::Format,
    kubernetes::{Cluster, pod_key},
    output,
    rates::{Activity, Scrapes},
    text,
};

/// Lists of pods that are requested at a time.
const CONCURRENT: usize = 8;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterOptions,
    /// The channels of all namespaces.
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Seconds between the two scrapes.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    interval: u64,
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let Options { cluster: options, all_namespaces, interval, output } = options;
    let cluster = options.connect().await?;
    let namespace = (!all_namespaces).then(|| options.namespace(&cluster).to_owned());
    let (channels, pods) = channels(&cluster, namespace.as_deref()).await?;
    if pods.len() > MAX_BROKERS {
        output::note(&format!("# {} brokers: only {MAX_BROKERS} of them are asked", pods.len()));
    }
    let began = Instant::now();
    let before = brokers::ask(&cluster, &pods).await;
    sleep(Duration::from_secs(interval)).await;
    let seconds = began.elapsed().as_secs_f64();
    let scrapes: Vec<Scrapes> =
        before.into_iter().zip(brokers::ask(&cluster, &pods).await).filter_map(both).collect();
    let activities: Vec<Activity> =
        channels.iter().map(|channel| Activity::of(channel, &scrapes, seconds)).collect();
    let json = |activity: &Activity| serde_json::to_string(activity).unwrap_or_default() + "\n";
    output::print(&match output {
        Format::Table => text::top(&activities),
        Format::Json => serde_json::to_string(&activities).unwrap_or_default() + "\n",
        Format::Jsonl => activities.iter().map(json).collect(),
    })
}

/// The names of the channels of a namespace or of all, and the pods of their brokers.
async fn channels(
    cluster: &Cluster,
    namespace: Option<&str>,
) -> Result<(Vec<String>, Vec<Pod>), Failure> {
    let unlisted = |what: &str, error| Failure::failed(format!("cannot list the {what}: {error}"));
    let channels = cluster.channels(namespace).await.map_err(|e| unlisted("channels", e))?;
    let name = |channel: &eventcast_crds::channel::EventChannel| {
        let metadata = &channel.metadata;
        let text = |name: &Option<String>| name.clone().unwrap_or_default();
        format!("{}/{}", text(&metadata.namespace), text(&metadata.name))
    };
    // Channels of a pool have the same pods.
    let mut pods = BTreeMap::new();
    let lists = channels.iter().map(|channel| cluster.brokers(channel));
    let mut lists = stream::iter(lists).buffered(CONCURRENT);
    while let Some(listed) = lists.next().await {
        for pod in listed.map_err(|error| unlisted("brokers", error))? {
            pods.insert(pod_key(&pod), pod);
        }
    }
    Ok((channels.iter().map(name).collect(), pods.into_values().collect()))
}

/// Brokers that have answered twice. Those that have not are named on standard error.
fn both((before, after): (Broker, Broker)) -> Option<Scrapes> {
    match (before.answer?, after.answer?) {
        (Ok(before), Ok(after)) => Some(Scrapes { before: before.metrics, after: after.metrics }),
        (Err(why), _) | (_, Err(why)) => {
            output::note(&format!("# broker {} cannot be asked: {why}", after.pod));
            None
        }
    }
}
