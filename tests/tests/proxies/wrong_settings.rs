//! What wrong settings do: each test fails if the setting has no effect, because then it would prove nothing elsewhere.

use std::{cell::Cell, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    http::{Publish, Version},
    proxy::{BODY_LIMIT, Kind, Setting, TIME_LIMIT},
    wire::{BrokerWithNats, EVENTS, HTTP_VERSIONS, RawResponse},
};
use futures_util::future::try_join_all;
use tokio::time::{Instant, error::Elapsed, timeout};

use super::{answer, beats_every_second, beats_never, open, proxy, subscribe};

/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The broker has sent several events before the client gets the first of them. Over HTTP/2 nginx holds nothing back.
#[tokio::test]
async fn a_proxy_that_buffers_holds_events_back_over_http_1() -> Result<()> {
    let broker = BrokerWithNats::start(beats_never).await?;
    let delivered = ("eventcast_subscriber_events_total", [("outcome", "delivered")]);
    for kind in Kind::with(Setting::Buffering) {
        let proxy = proxy(kind, Setting::Buffering, &broker).await?;
        let sent = Cell::new(0);
        let reader = async {
            let mut stream = subscribe(&proxy, Version::Http1, "").await?;
            let mut held_back = 0;
            for n in 0..40 {
                let data = stream.data().await?;
                ensure!(data.starts_with(&format!("{n} ")), "{data} came for {n}");
                held_back = held_back.max(sent.get() - n);
            }
            anyhow::Ok(held_back)
        };
        let publisher = async {
            broker.wait_for_metric("eventcast_subscribers", &[], PATIENCE, |n| n > 0.0).await?;
            loop {
                let before = broker.metric(delivered.0, &delivered.1).await?;
                broker.publish(format!("{} of many", sent.get())).await?;
                let more = |n| n > before;
                broker.wait_for_metric(delivered.0, &delivered.1, PATIENCE, more).await?;
                sent.set(sent.get() + 1);
            }
        };
        let held_back = tokio::select! {
            held_back = reader => held_back?,
            ended = publisher => return ended,
        };
        ensure!(held_back > 2, "{kind:?}: {held_back} events were held back");
    }
    Ok(())
}

/// `Cache-Control: no-transform` keeps HAProxy and Envoy from it; nginx does not read that header.
#[tokio::test]
async fn only_nginx_compresses_event_streams_against_the_word_of_the_broker() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    for kind in Kind::with(Setting::Compression) {
        let proxy = proxy(kind, Setting::Compression, &broker).await?;
        for version in HTTP_VERSIONS {
            let accepts = [("Accept-Encoding", "gzip")];
            for (path, expected) in
                [("/channels/default/demo", true), (EVENTS, kind == Kind::Nginx)]
            {
                let address = proxy.address();
                let response =
                    RawResponse::request(version, address, "GET", path, &accepts, b"").await?;
                let compressed = response.header_values("content-encoding") == ["gzip"];
                ensure!(compressed == expected, "{kind:?} {version:?}: {path} {:?}", response.head);
            }
        }
    }
    Ok(())
}

/// Reads until the body ends or the connection breaks. Silence is neither.
async fn read_to_the_end(stream: &mut RawResponse) -> Result<()> {
    loop {
        match stream.next_chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) if error.is::<Elapsed>() => return Err(error),
            Err(_) => return Ok(()),
        }
    }
}

/// Opens a stream through each proxy that has `setting`, in both versions of HTTP, and waits until all have ended: each after
/// [`TIME_LIMIT`], and not long before.
async fn all_end(setting: Setting, broker: &BrokerWithNats) -> Result<()> {
    let ends = Kind::with(setting).map(|kind| async move {
        let proxy = proxy(kind, setting, broker).await?;
        for version in HTTP_VERSIONS {
            let since = Instant::now();
            let mut stream = open(&proxy, version).await?;
            let end = timeout(PATIENCE, read_to_the_end(&mut stream)).await;
            end.context("the stream goes on")
                .flatten()
                .with_context(|| format!("{kind:?} {version:?}"))?;
            let after = since.elapsed();
            ensure!(after >= TIME_LIMIT - Duration::from_secs(1), "{kind:?}: after {after:?}");
        }
        Ok(())
    });
    try_join_all(ends).await.map(drop)
}

#[tokio::test]
async fn an_idle_timeout_below_the_heartbeat_ends_streams() -> Result<()> {
    let broker = BrokerWithNats::start(beats_never).await?;
    all_end(Setting::IdleTimeout, &broker).await
}

#[tokio::test]
async fn a_time_limit_for_responses_ends_streams_that_are_not_idle() -> Result<()> {
    let broker = BrokerWithNats::start(beats_every_second).await?;
    all_end(Setting::TimeLimit, &broker).await
}

#[tokio::test]
async fn a_limit_of_bodies_below_that_of_the_channel_is_a_413_that_no_broker_sent() -> Result<()> {
    let broker = BrokerWithNats::start(|_| {}).await?;
    let line = format!("{{\"data\":\"{}\"}}\n", "x".repeat(100_000));
    let body = line.repeat(BODY_LIMIT / line.len() + 1);
    for kind in Kind::with(Setting::SmallBodies) {
        let proxy = proxy(kind, Setting::SmallBodies, &broker).await?;
        for version in HTTP_VERSIONS {
            let publish = Publish::new(body.clone()).header("Content-Type", "application/x-ndjson");
            let answer = answer(&publish, version, &proxy).await?;
            ensure!(answer.status == 413, "{kind:?} {version:?}: {answer:?}");
            let kind_of_body = answer.header("content-type").unwrap_or_default();
            ensure!(kind_of_body != "application/problem+json", "{kind:?}: {answer:?}");
        }
    }
    Ok(())
}
