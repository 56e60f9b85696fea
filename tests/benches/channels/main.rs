//! What one operator does with many channels: time until all are as they should be, then a quiet minute, its writes, processor and
//! memory. `make bench-operator`; CHANNELS=200 for fewer, CASE=pools for channels in a pool, CASE=rollout for a
//! new version of the brokers, CASE=day for a day of load.
//!
//! The API server, etcd and NATS are on the same processors.

mod day;
mod fleet;
mod pools;
mod rollout;
mod usage;

use std::{env, time::Duration};

use anyhow::{Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    kube::{ApiServer, temp_namespace},
    namespace::install_crd,
    nats::NatsServer,
    operator::{Operator, Options},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::{Api, api::ListParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use usage::{mb, processor};

/// How long the quiet lasts.
const QUIET: Duration = Duration::from_secs(60);
/// How long the channels may take.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> Result<()> {
    let count: usize = env::var("CHANNELS").map_or(Ok(1000), |n| n.parse())?;
    match env::var("CASE").as_deref() {
        Ok("pools") => pools::run(count).await,
        Ok("rollout") => rollout::run(count).await,
        Ok("day") => day::run().await,
        _ => own_brokers(count).await,
    }
}

/// Each channel has brokers of its own.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn own_brokers(count: usize) -> Result<()> {
    let server = ApiServer::start().await?;
    install_crd(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let nats = NatsServer::start_with("1s").await?;
    let operator = Operator::start(Options {
        more: vec!["--log=warn".into()],
        ..Options::of_all_namespaces(server.admin_kubeconfig(), &nats, &namespace)
    })
    .await?;
    let pid = operator.process()?.pid();
    let (empty, api) =
        (operator.process()?.rss()?, Api::<EventChannel>::namespaced(client, &namespace));

    let began = Instant::now();
    stream::iter(0..count)
        .map(|i| {
            let api = api.clone();
            async move {
                let object = json!({"apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel",
                    "metadata": {"name": format!("channel-{i}")}, "spec": {"retention": {"maxBytes": 1_000_000}}});
                api.create(&Default::default(), &serde_json::from_value(object)?).await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(8)
        .try_collect::<()>()
        .await?;
    let created = began.elapsed();
    // Asked of the operator first: a list of all is work for the API server, too.
    let status = [("kind", "EventChannel"), ("verb", "status")];
    let written = || operator.metric("eventcast_operator_api_writes_total", &status);
    while as_many(written().await?) < count || as_they_should_be(&api).await? < count {
        ensure!(began.elapsed() < READ_TIMEOUT, "not within {READ_TIMEOUT:?}:\n{}", operator.log());
        sleep(Duration::from_millis(250)).await;
    }
    let converged = began.elapsed();
    let busy = processor(pid)?;
    let writes = || operator.metric("eventcast_operator_api_writes_total", &[]);
    // What the last writes have set off comes to rest.
    let mut last = writes().await?;
    loop {
        sleep(Duration::from_secs(5)).await;
        let now = writes().await?;
        if now == last {
            break;
        }
        last = now;
    }
    let before = processor(pid)?;
    sleep(QUIET).await;
    let (used, wrote) = (processor(pid)? - before, writes().await? - last);
    println!("channels                      {count}");
    println!("all created after             {:.1} s", created.as_secs_f64());
    println!("all as they should be after   {:.1} s", converged.as_secs_f64());
    println!("operator's processor till then {:.1} s", busy.as_secs_f64());
    println!("writes till then              {last}");
    println!("a quiet minute: writes        {wrote}");
    println!(
        "a quiet minute: processor     {:.2} % of one",
        used.as_secs_f64() / QUIET.as_secs_f64() * 100.0
    );
    println!(
        "memory                        {:.1} MB ({:.1} MB without channels)",
        mb(operator.process()?.rss()?),
        mb(empty)
    );
    Ok(())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter of writes")]
fn as_many(value: f64) -> usize {
    value as usize
}

/// How many channels are accepted and have their stream.
async fn as_they_should_be(api: &Api<EventChannel>) -> Result<usize> {
    let all = api.list(&ListParams::default()).await?;
    let good = |channel: &&EventChannel| {
        let status = channel.status.clone().unwrap_or_default();
        let holds =
            |kind: &str| status.conditions.iter().any(|c| c.type_ == kind && c.status == "True");
        status.observed_generation == channel.metadata.generation
            && holds("Accepted")
            && holds("StreamReady")
    };
    Ok(all.items.iter().filter(good).count())
}
