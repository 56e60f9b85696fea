//! What a pool with many channels costs: one operator, one pool of three brokers. The API server, etcd, NATS and the subscribers are on
//! the same processors. There are no kubelets: changed files reach the brokers at once.

use std::{env, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{channel::EventChannel, pool::BrokerPool};
use eventcast_tests::{
    eventually,
    http::created,
    kube::{ApiServer, temp_namespace},
    namespace::{self, WAIT_TIMEOUT, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
    pool_brokers::PoolBrokers,
    sse::{EventStream, Subscribe},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kube::{Api, Client, api::ListParams};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    QUIET, as_many,
    usage::{Usage, quantile},
};

const POOL: &str = "shared";
const BROKERS: usize = 3;
/// How long the channels may take.
const READ_TIMEOUT: Duration = Duration::from_secs(900);
/// Subscribers in the three measurements at rest.
const SUBSCRIBERS: [usize; 3] = [0, 100, 1000];
/// Subscribers that come one after the other, each as the first of its channel.
const FIRST: usize = 200;
/// How long it may take until the subscribers are counted.
const COUNT_TIMEOUT: Duration = Duration::from_secs(240);
/// How long one subscriber may wait.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that runs.
struct Setup {
    pool: PoolBrokers,
    operator: Operator,
    nats: NatsServer,
    client: Client,
    /// The namespace of the pool.
    home: String,
    /// The namespaces of the channels.
    namespaces: Vec<String>,
    /// Last: it holds the files that the operator reads.
    server: ApiServer,
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) async fn run(count: usize) -> Result<()> {
    let namespaces: usize = env::var("NAMESPACES").map_or(Ok(0), |n| n.parse())?;
    let setup = Setup::start(namespaces).await?;
    let empty = setup.usage()?;
    setup.create(count).await?;
    println!("used till then:");
    setup.usage()?.print_since(&empty);
    setup.rest().await?;
    println!("API writes till then: {}", setup.writes().await?);

    let mut open = Vec::new();
    let mut waits = Vec::new();
    for subscribers in SUBSCRIBERS {
        let wanted = subscribers.min(count);
        let (wrote, before) = (setup.writes().await?, open.len());
        // One after the other as long as they are measured, then as fast as they can.
        for index in before..wanted.min(FIRST) {
            let (stream, wait) = setup.first_subscriber(index).await?;
            open.push(stream);
            waits.push(wait.as_secs_f64() * 1000.0);
        }
        let more = stream::iter(open.len()..wanted).map(|index| setup.subscribe(index, None));
        open.extend(more.buffered(8).try_collect::<Vec<_>>().await?);
        // The number of subscribers is counted once a minute.
        let counted = wrote + open.len() - before;
        eventually("the subscribers are counted", COUNT_TIMEOUT, || async {
            ensure!(setup.writes().await? >= counted, "not all");
            anyhow::Ok(())
        })
        .await?;
        setup.quiet_minute(open.len()).await?;
    }
    println!(
        "first subscriber of a parked channel, {} of them: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
        waits.len(),
        quantile(&mut waits, 50),
        quantile(&mut waits, 99),
        quantile(&mut waits, 100)
    );
    for name in ["new-1", "new-2", "new-3"] {
        let seconds = setup.first_event(name).await?.as_secs_f64();
        println!("a new channel, until its first event is received: {seconds:.1} s");
    }
    drop(open);
    Ok(())
}

impl Setup {
    /// With channels in so many namespaces; 0: in that of the pool.
    async fn start(others: usize) -> Result<Self> {
        let server = ApiServer::start().await?;
        install_crd(&server).await?;
        let client = server.client().await?;
        let namespace = temp_namespace(&client).await?;
        let nats = NatsServer::start().await?;
        let operator = Operator::start(Options {
            more: vec!["--log=warn".into()],
            ..Options::of_all_namespaces(server.admin_kubeconfig(), &nats, &namespace)
        })
        .await?;
        let pool = json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": "BrokerPool", "metadata": {"name": POOL},
            "spec": {
                "brokers": {"replicas": BROKERS},
                "channels": {"max": 20_000, "namespaces": {"from": if others > 0 { "All" } else { "Same" }}},
            },
        });
        let pools = Api::<BrokerPool>::namespaced(client.clone(), &namespace);
        pools.create(&Default::default(), &serde_json::from_value(pool)?).await?;
        let pool = PoolBrokers::start(&client, &nats.url(), &namespace, POOL, BROKERS).await?;
        let mut namespaces = Vec::new();
        for _ in 0..others {
            namespaces.push(temp_namespace(&client).await?);
        }
        if namespaces.is_empty() {
            namespaces.push(namespace.clone());
        }
        Ok(Self { pool, operator, nats, client, namespaces, home: namespace, server })
    }

    /// Creates the channels and waits until all are ready.
    #[expect(clippy::print_stdout, reason = "figures, and how far it is")]
    async fn create(&self, count: usize) -> Result<()> {
        let began = (Instant::now(), jiff::Timestamp::now());
        stream::iter(0..count)
            .map(|index| self.apply(self.namespace(index), channel(index)))
            .buffer_unordered(8)
            .try_collect::<()>()
            .await?;
        println!("{count} channels created after {:.1} s", began.0.elapsed().as_secs_f64());
        let ready = || self.operator.metric("eventcast_operator_channels", &[("ready", "true")]);
        // Asked of the operator: a list of all is work for the API server.
        let (mut now, mut told) = (0, Instant::now());
        loop {
            // Busy with all of them, it may be late with an answer.
            now = ready().await.map_or(now, as_many);
            if now >= count {
                break;
            }
            if told.elapsed() > Duration::from_secs(30) {
                println!("{now} are ready after {:.0} s", began.0.elapsed().as_secs_f64());
                told = Instant::now();
            }
            ensure!(
                began.0.elapsed() < READ_TIMEOUT,
                "{now} channels are ready after {READ_TIMEOUT:?}:\n{}",
                eventcast_tests::process::tail(&self.operator.log(), 50)
            );
            sleep(Duration::from_secs(1)).await;
        }
        let channels = Api::<EventChannel>::all(self.client.clone());
        let all = channels.list(&ListParams::default()).await?;
        let mut since = Vec::new();
        for channel in all {
            let status = channel.status.unwrap_or_default();
            let ready = status.conditions.into_iter().find(|c| c.type_ == "Ready");
            let ready = ready.filter(|c| c.status == "True").context("a channel is not ready")?;
            since.push(ready.last_transition_time.0.duration_since(began.1).as_secs_f64());
        }
        println!(
            "ready after: half of them {:.0} s, all {:.0} s",
            quantile(&mut since, 50),
            quantile(&mut since, 100)
        );
        Ok(())
    }

    fn namespace(&self, index: usize) -> &str {
        &self.namespaces[index % self.namespaces.len()]
    }

    async fn apply(&self, namespace: &str, name: String) -> Result<()> {
        let spec = json!({
            "retention": {"maxBytes": 1 << 20}, // JetStream reserves it
            "access": {"anonymous": ["Subscribe", "Publish"]},
            "brokers": {"pool": {"name": POOL, "namespace": self.home}},
        });
        namespace::apply(&self.client, namespace, &name, spec).await?;
        Ok(())
    }

    async fn writes(&self) -> Result<usize> {
        Ok(as_many(self.operator.metric("eventcast_operator_api_writes_total", &[]).await?))
    }

    /// Waits until the operator has not written for a while.
    async fn rest(&self) -> Result<()> {
        let mut last = self.writes().await?;
        loop {
            sleep(Duration::from_secs(10)).await;
            let now = self.writes().await?;
            if now == last {
                return Ok(());
            }
            last = now;
        }
    }

    #[expect(clippy::print_stdout, reason = "figures")]
    async fn quiet_minute(&self, subscribers: usize) -> Result<()> {
        self.rest().await?;
        let (before, writes) = (self.usage()?, self.writes().await?);
        sleep(QUIET).await;
        let after = self.usage()?;
        println!(
            "a minute with {subscribers} subscribers: {} writes",
            self.writes().await? - writes
        );
        after.print_shares(&before, QUIET);
        Ok(())
    }

    fn url(&self, broker: usize, namespace: &str, channel: &str) -> String {
        let path = format!("/channels/{namespace}/{channel}/events");
        self.pool.brokers[broker % BROKERS].url(&path)
    }

    async fn subscribe(&self, index: usize, from: Option<&str>) -> Result<EventStream> {
        let from = from.map(|from| format!("?from={from}")).unwrap_or_default();
        // A socket of its own: to make a client takes longer than what is measured.
        EventStream::open(Subscribe {
            url: self.url(index, self.namespace(index), &channel(index)) + &from,
            receive_buffer: Some(64 << 10),
            ..Subscribe::default()
        })
        .await
    }

    /// Subscribes to a parked channel with one event. The time until that has come.
    async fn first_subscriber(&self, index: usize) -> Result<(EventStream, Duration)> {
        created(&self.url(index, self.namespace(index), &channel(index)), "hello", &[]).await?;
        let began = Instant::now();
        let mut stream = self.subscribe(index, Some("earliest")).await?;
        stream.next_data(SUBSCRIBE_TIMEOUT).await?;
        Ok((stream, began.elapsed()))
    }

    /// The time from the creation of a channel to its first event at a subscriber.
    async fn first_event(&self, name: &str) -> Result<Duration> {
        let began = Instant::now();
        self.apply(self.namespace(0), name.into()).await?;
        let url = self.url(0, self.namespace(0), name);
        eventually("the channel takes an event", WAIT_TIMEOUT, || created(&url, "hello", &[]))
            .await?;
        let url = self.url(1, self.namespace(0), name) + "?from=earliest";
        let open = || EventStream::connect(&url, None);
        let mut stream = eventually("the channel has a subscriber", WAIT_TIMEOUT, open).await?;
        stream.next_data(SUBSCRIBE_TIMEOUT).await?;
        Ok(began.elapsed())
    }

    /// What every process has used.
    fn usage(&self) -> Result<Usage> {
        let mut pids = vec![("operator".to_owned(), self.operator.process()?.pid())];
        for (index, broker) in self.pool.brokers.iter().enumerate() {
            pids.push((format!("broker {index}"), broker.pid()?));
        }
        let nats = self.nats.process().context("NATS does not run")?;
        pids.push(("nats-server".to_owned(), nats.pid()));
        pids.extend(self.server.pids().map(|(name, pid)| (name.to_owned(), pid)));
        Usage::of(pids)
    }
}

fn channel(index: usize) -> String {
    format!("channel-{index}")
}
