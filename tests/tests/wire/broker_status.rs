//! The status endpoint on the admin port.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::broker_status::{self, BrokerStatus};
use eventcast_tests::{
    broker::{Broker, open_channel},
    eventually,
    http::{Version, client},
    init_tracing,
    nats::NatsServer,
    sse::EventStream,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_status_endpoint_counts_the_subscribers_of_each_channel() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |config| {
        config.channels.push(open_channel("shop", "orders"));
    })
    .await?;
    let status = async || {
        let answer =
            client(Version::Http1).get(broker.admin_url(broker_status::PATH)).send().await?;
        ensure!(answer.headers()["content-type"] == "application/json", "not JSON");
        anyhow::Ok(serde_json::from_slice::<BrokerStatus>(&answer.bytes().await?)?)
    };
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(EventStream::connect(&broker.events_url(""), None).await?);
    }
    eventually("both channels are live and the streams at the head", WAIT_TIMEOUT, || async {
        let status = status().await?;
        ensure!(status.version == env!("CARGO_PKG_VERSION"), "{}", status.version);
        let found =
            status.channels.iter().map(|c| (&*c.channel, c.subscribers, c.catching_up, c.live));
        let found: Vec<_> = found.collect();
        ensure!(found == [("default/demo", 2, 0, true), ("shop/orders", 0, 0, true)], "{found:?}");
        ensure!((status.streams, status.shed) == (Some(2), Some(0)), "{status:?}");
        ensure!(status.cpu_milliseconds.is_some_and(|ms| ms > 0), "{status:?}");
        ensure!(status.order.is_none(), "{status:?}");
        Ok(())
    })
    .await?;
    streams.pop();
    eventually("a stream that ended is not counted", WAIT_TIMEOUT, || async {
        let count = status().await?.channel("default/demo").context("no such channel")?.subscribers;
        ensure!(count == 1, "{count}");
        Ok(())
    })
    .await
}
