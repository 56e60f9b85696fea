//! Streams: what the broker writes arrives at once, and what the client does reaches the broker.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    http::Version,
    proxy::{Kind, Setting},
    wire::{BrokerWithNats, HTTP_VERSIONS},
};

use super::{beats_every_second, beats_never, open, proxy};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Each event is read before the next one is published: a proxy that holds back anything stops this.
#[tokio::test]
async fn the_first_bytes_and_every_event_arrive_without_the_next_one() -> Result<()> {
    let broker = BrokerWithNats::start(beats_never).await?;
    for kind in Kind::ALL {
        let proxy = proxy(kind, Setting::Documented, &broker).await?;
        for version in HTTP_VERSIONS {
            let mut stream = open(&proxy, version).await.with_context(|| format!("{kind:?}"))?;
            ensure!(stream.header_values("content-encoding").is_empty(), "{:?}", stream.head);
            for n in 0..20 {
                let text = format!("{n} through {kind:?}");
                broker.publish(text.clone()).await?;
                let data = stream.data().await.with_context(|| format!("{version:?}: {text}"))?;
                ensure!(data == text, "{data:?} came for {text:?}");
            }
        }
    }
    Ok(())
}

/// Large events fill every buffer on the way; none is cut or changed.
#[tokio::test]
async fn events_larger_than_the_buffers_arrive_whole() -> Result<()> {
    let broker = BrokerWithNats::start(beats_never).await?;
    for kind in Kind::ALL {
        let proxy = proxy(kind, Setting::Documented, &broker).await?;
        for version in HTTP_VERSIONS {
            let mut stream = open(&proxy, version).await?;
            for size in [4096, 16_384, 65_536, 250_000] {
                let text = "0123456789abcdef".repeat(size / 16);
                broker.publish(text.clone()).await?;
                ensure!(stream.data().await? == text, "{kind:?} {version:?}: {size} bytes");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn heartbeats_keep_a_stream_open_that_is_silent_for_longer_than_the_proxy_allows()
-> Result<()> {
    let broker = BrokerWithNats::start(beats_every_second).await?;
    let (mut proxies, mut streams) = (Vec::new(), Vec::new());
    for kind in Kind::with(Setting::IdleTimeout) {
        let proxy = proxy(kind, Setting::IdleTimeout, &broker).await?;
        for version in HTTP_VERSIONS {
            streams.push((kind, version, open(&proxy, version).await?));
        }
        proxies.push(proxy);
    }
    for (kind, version, stream) in &mut streams {
        for _ in 0..8 {
            let beat = stream.read_until(b":\n").await;
            beat.with_context(|| format!("{kind:?} {version:?}"))?;
        }
    }
    broker.publish("after the silence").await?;
    for (kind, version, stream) in &mut streams {
        ensure!(stream.data().await? == "after the silence", "{kind:?} {version:?}");
    }
    Ok(())
}

/// Without a heartbeat that cannot be delivered; only Envoy needs one, for HTTP/1.1.
#[tokio::test]
async fn the_broker_learns_that_a_client_has_gone() -> Result<()> {
    let quiet = BrokerWithNats::start(beats_never).await?;
    let beating = BrokerWithNats::start(beats_every_second).await?;
    for kind in Kind::ALL {
        for version in HTTP_VERSIONS {
            let needs_beats = kind == Kind::Envoy && version == Version::Http1;
            let broker = if needs_beats { &beating } else { &quiet };
            let proxy = proxy(kind, Setting::Documented, broker).await?;
            let stays = open(&proxy, version).await?;
            let leaves = open(&proxy, version).await?;
            let subscribers = |wanted: f64| {
                let is = move |n| n == wanted;
                broker.wait_for_metric("eventcast_subscribers", &[], WAIT_TIMEOUT, is)
            };
            subscribers(2.0).await?;
            drop(leaves);
            subscribers(1.0).await.with_context(|| format!("{kind:?} {version:?}"))?;
            drop(stays);
            subscribers(0.0).await.with_context(|| format!("{kind:?} {version:?}"))?;
        }
    }
    Ok(())
}
