//! `eventcast check`.

use std::time::Duration;

use super::reach;
use crate::{
    brokers,
    channel::Channel,
    check::{Finding, Level, channel as about_channel, cluster, judge, probe},
    failure::Failure,
    format::Format,
    output,
    printable::counted,
    target::ChannelName,
    text,
};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reach: reach::ReachOptions,
    /// Check whether the cluster is ready for an installation.
    #[arg(long, conflicts_with = "channel")]
    pre: bool,
    /// How long to read the stream: a longer time also finds time-outs that only the longest silences meet. Default: until a heartbeat
    /// arrives.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=probe::MAX_WAIT.as_secs()))]
    wait: Option<u64>,
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let findings = find(&options).await?;
    match options.output {
        Format::Table => output::print(&text::check(&findings))?,
        Format::Json => {
            output::print(&(serde_json::to_string(&findings).unwrap_or_default() + "\n"))?;
        }
        Format::Jsonl => {
            let lines =
                findings.iter().map(|f| serde_json::to_string(f).unwrap_or_default() + "\n");
            output::print(&lines.collect::<String>())?;
        }
    }
    let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    match failed {
        0 => Ok(()),
        count => Err(Failure::failed(format!("{} failed", counted(count as u64, "check")))),
    }
}

async fn find(options: &Options) -> Result<Vec<Finding>, Failure> {
    let reach = &options.reach;
    if options.pre {
        return Ok(cluster::pre(&reach.cluster.connect().await?).await);
    }
    if let Some(url) = &reach.url {
        let name = reach.channel.as_deref();
        let name = name.map(|name| ChannelName::parse(name, None)).transpose()?;
        let channel = reach.by_url(url, name.as_ref())?;
        return Ok(look(&channel, options.wait).await);
    }
    in_cluster(options).await
}

/// The cluster, and if a channel is named also this, its brokers and its stream.
async fn in_cluster(options: &Options) -> Result<Vec<Finding>, Failure> {
    let reach = &options.reach;
    let cluster = reach.cluster.connect().await?;
    let name =
        reach.channel.as_deref().map(|name| reach.cluster.name(name, &cluster)).transpose()?;
    let namespace = name.as_ref().map_or(cluster.namespace(), |name| &name.namespace);
    let (mut findings, answers) = cluster::installed(&cluster, namespace).await;
    let Some(name) = name.filter(|_| answers) else { return Ok(findings) };
    let channel = cluster.channel(&name).await?;
    let pods = cluster.brokers(&channel).await.unwrap_or_default();
    let brokers = brokers::ask(&cluster, &pods).await;
    findings.extend(about_channel::findings(&name, &channel, &brokers));
    let url = channel.status.as_ref().and_then(|status| status.url.as_deref());
    if let Some(url) = url {
        // Only clients inside of the cluster know such a name.
        let reached = match is_cluster_internal(url) {
            true => reach.in_cluster(&cluster, &name, &channel).await,
            false => reach.by_url(url, Some(&name)),
        };
        findings.extend(match reached {
            Ok(reached) => look(&reached, options.wait).await,
            Err(failure) => judge::unreachable(url, failure.message()),
        });
    }
    Ok(findings)
}

/// Whether the host of a URL is the name of a Service.
fn is_cluster_internal(url: &str) -> bool {
    let uri = url.parse::<http::Uri>().ok();
    uri.is_some_and(|uri| uri.host().is_some_and(|host| host.contains(".svc.")))
}

async fn look(channel: &Channel, wait: Option<u64>) -> Vec<Finding> {
    let seen = probe::observe(channel, wait.map(Duration::from_secs)).await;
    judge::findings(&channel.url.shown(), &seen)
}
