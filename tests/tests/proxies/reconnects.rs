//! Reconnects: a proxy or a broker goes away, and clients resume at the next event, without an error on the way.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    http::created,
    init_tracing,
    nats::NatsServer,
    proxy::{Kind, Proxy, Setting},
    sse::{EventStream, Subscribe},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS},
};

use futures_util::future::try_join_all;

use super::{beats_every_second, proxy};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// The next `count` events of a publisher, as numbers.
async fn numbers(stream: &mut EventStream, count: usize) -> Result<Vec<u32>> {
    let mut out = Vec::new();
    for _ in 0..count {
        out.push(stream.next_data(WAIT_TIMEOUT).await?.data.parse()?);
    }
    Ok(out)
}

/// Reads until the connection breaks or ends.
async fn read_to_the_end(stream: &mut EventStream) -> Result<()> {
    let end = async { while let Ok(Some(_)) = stream.next().await {} };
    tokio::time::timeout(WAIT_TIMEOUT, end).await.context("the stream goes on")
}

#[tokio::test]
async fn a_restarted_proxy_costs_no_event() -> Result<()> {
    let broker = BrokerWithNats::start(beats_every_second).await?;
    for kind in Kind::ALL {
        let mut proxy = proxy(kind, Setting::Documented, &broker).await?;
        for version in HTTP_VERSIONS {
            let url = proxy.url(EVENTS);
            let request = Subscribe { url, version, ..Subscribe::default() };
            let mut stream = EventStream::open(request).await?;
            for n in 0..3 {
                broker.publish(n.to_string()).await?;
            }
            let mut seen = numbers(&mut stream, 3).await?;
            proxy.kill9()?;
            read_to_the_end(&mut stream).await?;
            for n in 3..6 {
                broker.publish(n.to_string()).await?;
            }
            proxy.restart().await?;
            let mut stream = stream.reconnect().await?;
            for n in 6..9 {
                broker.publish(n.to_string()).await?;
            }
            seen.extend(numbers(&mut stream, 6).await?);
            ensure!(seen == (0..9).collect::<Vec<_>>(), "{kind:?} {version:?}: {seen:?}");
        }
    }
    Ok(())
}

/// Browsers give up after any answer but 200, so the proxy must not answer with a 502 for the broker that is gone.
#[tokio::test]
async fn clients_of_a_broker_that_was_killed_resume_at_the_other_one_at_the_first_try() -> Result<()>
{
    init_tracing();
    let nats = NatsServer::start_with("1m").await?;
    let mut killed = Broker::start(&nats.url(), beats_every_second).await?;
    let stays = Broker::start(&nats.url(), beats_every_second).await?;
    for kind in Kind::ALL {
        for version in HTTP_VERSIONS {
            killed.restart().await?;
            let urls = [killed.url(""), stays.url("")];
            let brokers = [urls[0].as_str(), &urls[1]];
            let proxy = Proxy::start(kind, Setting::Documented, &brokers).await?;
            let mut streams = Vec::new();
            for _ in 0..8 {
                let request = Subscribe { url: proxy.url(EVENTS), version, ..Subscribe::default() };
                streams.push(EventStream::open(request).await?);
            }
            created(&stays.events_url(""), "0", &[]).await?;
            for stream in &mut streams {
                ensure!(numbers(stream, 1).await? == [0]);
            }
            let of_killed = killed.metric("eventcast_subscribers", &[]).await?;
            ensure!(of_killed > 0.0, "{kind:?}: the other broker has all streams");
            killed.kill9()?;
            created(&stays.events_url(""), "1", &[]).await?;
            let mut broken = 0;
            for mut stream in streams {
                let next = stream.next_data(WAIT_TIMEOUT).await;
                let event = if let Ok(event) = next {
                    event
                } else {
                    broken += 1;
                    let reconnected = stream.reconnect().await;
                    let mut stream =
                        reconnected.with_context(|| format!("{kind:?} {version:?}: refused"))?;
                    stream.next_data(WAIT_TIMEOUT).await?
                };
                ensure!(event.data == "1", "{kind:?} {version:?}: {event:?}");
            }
            ensure!(f64::from(broken) == of_killed, "{kind:?}: {broken} of {of_killed} broke");
        }
    }
    Ok(())
}

/// A rollout: the broker closes its listener and its streams. No client sees an error of the proxy, however often it reconnects meanwhile.
#[tokio::test]
async fn clients_of_a_broker_that_drains_move_to_the_other_one_without_an_error() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start_with("1m").await?;
    let mut drains = Broker::start(&nats.url(), beats_every_second).await?;
    let stays = Broker::start(&nats.url(), beats_every_second).await?;
    let publish = stays.events_url("");
    for kind in Kind::ALL {
        for version in HTTP_VERSIONS {
            drains.restart().await?;
            let brokers = [drains.url(""), stays.url("")];
            let brokers = [brokers[0].as_str(), &brokers[1]];
            let proxy = Proxy::start(kind, Setting::Documented, &brokers).await?;
            let mut streams = Vec::new();
            for _ in 0..8 {
                let request = Subscribe { url: proxy.url(EVENTS), version, ..Subscribe::default() };
                streams.push(EventStream::open(request).await?);
            }
            created(&publish, "0", &[]).await?;
            for stream in &mut streams {
                ensure!(numbers(stream, 1).await? == [0]);
            }
            let moves = drains.metric("eventcast_subscribers", &[]).await?;
            ensure!(moves > 0.0, "{kind:?}: the other broker has all streams");
            drains.terminate()?;
            let ended = drains.wait_exit(WAIT_TIMEOUT);
            let following = streams.into_iter().map(|stream| follow(stream, 1));
            let (ended, reconnects, _) = tokio::join!(ended, try_join_all(following), async {
                stays
                    .settled("all streams have moved", WAIT_TIMEOUT, |metrics| {
                        let open = metrics.metric("eventcast_subscribers", &[]);
                        ensure!(open == 8.0, "it has {open}");
                        Ok(())
                    })
                    .await?;
                created(&publish, "1", &[]).await
            });
            ensure!(ended?.success(), "{kind:?} {version:?}");
            let reconnects = reconnects.with_context(|| format!("{kind:?} {version:?}"))?;
            let moved = reconnects.iter().filter(|count| **count > 0).count();
            ensure!(moved as f64 == moves, "{kind:?}: {moved} of {moves} moved");
        }
    }
    Ok(())
}

/// Reads on, and reconnects as often as the stream ends, until `wanted` comes, which must be the next event. Returns how often.
async fn follow(mut stream: EventStream, wanted: u32) -> Result<u32> {
    let mut reconnects = 0;
    loop {
        match tokio::time::timeout(WAIT_TIMEOUT, stream.next()).await? {
            Ok(Some(event)) if event.is_control() => {
                ensure!(event.event_type != "eventcast.gap", "{event:?}");
            }
            Ok(Some(event)) => {
                ensure!(event.data.parse::<u32>()? == wanted, "{event:?}");
                return Ok(reconnects);
            }
            Ok(None) | Err(_) => {
                reconnects += 1;
                stream = stream.reconnect().await?;
            }
        }
    }
}
