//! Request bodies and responses in memory have a budget, and one client gets only a part of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::networks,
    eventually,
    http::{Http1Connection, Publish, Version},
    wire::{BrokerWithNats, EVENTS, RawResponse},
};
use futures_util::future::join_all;

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const MIB: u64 = 1 << 20;
const BATCH: usize = 4 << 20;

async fn start(change: impl FnOnce(&mut BrokerConfig)) -> Result<BrokerWithNats> {
    BrokerWithNats::start(|config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        change(config);
    })
    .await
}

/// A batch of 4 MiB that lacks its last byte.
async fn endless(broker: &BrokerWithNats, client: &str, chunked: bool) -> Result<Http1Connection> {
    let mut connection = Http1Connection::connect(broker.address()).await?;
    let framing = if chunked {
        "Transfer-Encoding: chunked".into()
    } else {
        format!("Content-Length: {BATCH}")
    };
    let head = format!(
        "POST {EVENTS} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {client}\r\n\
         Content-Type: application/x-ndjson\r\n{framing}\r\n\r\n"
    );
    connection.send(head).await?;
    if chunked {
        connection.send(format!("{BATCH:x}\r\n")).await?;
    }
    for _ in 0..63 {
        connection.send(vec![b' '; 64 << 10]).await?;
    }
    connection.send(vec![b' '; (64 << 10) - 1]).await?;
    Ok(connection)
}

/// Publishes as `client`, and says how it was answered.
async fn publish(broker: &BrokerWithNats, client: &str) -> Result<u16> {
    let headers = [("X-Forwarded-For", client)];
    let answer =
        RawResponse::request(Version::Http1, broker.address(), "POST", EVENTS, &headers, b"small");
    let answer = answer.await?;
    if answer.head.status == 503 {
        ensure!(answer.head.header("retry-after").is_some(), "{:?}", answer.head);
    }
    Ok(answer.head.status)
}

#[tokio::test]
async fn endless_bodies_of_one_client_take_no_memory_from_others() -> Result<()> {
    let broker = start(|_| {}).await?;
    let before = broker.rss()?;
    // sending ends when the broker reads no more, and then the connection is refused
    let sending = join_all((0..150).map(|n| endless(&broker, "203.0.113.7:40000", n % 2 == 0)));
    let others = async {
        let mut most = 0;
        for n in 0..40 {
            assert_eq!(publish(&broker, &format!("198.51.100.{n}")).await?, 201, "another client");
            most = most.max(broker.rss()?);
        }
        anyhow::Ok(most)
    };
    let (connections, most) = tokio::join!(sending, others);
    let most = most?.max(broker.rss()?);
    let grown = most.saturating_sub(before) / MIB;
    ensure!(grown < 120, "{grown} MiB more than before: 16 are for one client");
    ensure!(broker.metric("eventcast_body_kibibytes", &[]).await? <= 16.0 * 1024.0, "budget");
    let busy = [("outcome", "busy")];
    broker.wait_for_metric("eventcast_publish_total", &busy, WAIT_TIMEOUT, |n| n >= 100.0).await?;
    drop(connections);
    broker.wait_for_metric("eventcast_body_kibibytes", &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
    assert_eq!(publish(&broker, "203.0.113.7").await?, 201, "the client itself, once it is done");
    Ok(())
}

#[tokio::test]
async fn bodies_of_many_clients_that_never_end_are_bounded_together() -> Result<()> {
    let broker = start(|_| {}).await?;
    let before = broker.rss()?;
    let clients: Vec<_> = (0..150).map(|n| format!("203.0.113.{n}")).collect();
    let sending = join_all(clients.iter().map(|client| endless(&broker, client, false)));
    let watching = async {
        let mut most = 0;
        for _ in 0..20 {
            let status = publish(&broker, "198.51.100.1").await?;
            ensure!([201, 503].contains(&status), "{status}");
            most = most.max(broker.rss()?);
        }
        anyhow::Ok(most)
    };
    let (connections, most) = tokio::join!(sending, watching);
    let grown = most?.saturating_sub(before) / MIB;
    ensure!(grown < 250, "{grown} MiB more than before: the budget of all is 64");
    drop(connections);
    eventually("room again", WAIT_TIMEOUT, async || {
        ensure!(publish(&broker, "198.51.100.1").await? == 201, "not yet");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_body_has_its_room_until_it_is_acknowledged() -> Result<()> {
    let broker = start(|config| config.nats.ack_milliseconds = 10_000).await?;
    broker.publish("NATS is there").await?;
    broker.nats.pause()?;
    let big = vec![b'x'; 200 << 10];
    let headers = [("X-Forwarded-For", "203.0.113.7")];
    let address = broker.address();
    let asking = RawResponse::request(Version::Http1, address, "POST", EVENTS, &headers, &big);
    let held = async {
        broker
            .wait_for_metric("eventcast_body_kibibytes", &[], WAIT_TIMEOUT, |n| n == 200.0)
            .await?;
        broker.nats.resume()
    };
    let (answer, held) = tokio::join!(asking, held);
    assert_eq!(answer?.head.status, 201);
    held?;
    broker.wait_for_metric("eventcast_body_kibibytes", &[], WAIT_TIMEOUT, |n| n == 0.0).await?;
    Ok(())
}

#[tokio::test]
async fn answers_that_are_not_read_are_bounded_and_leave_room_for_other_clients() -> Result<()> {
    let broker = start(|_| {}).await?;
    let data = "x".repeat(250 << 10);
    for _ in 0..50 {
        ensure!(broker.send(&Publish::new(data.clone())).await?.status == 201, "not stored");
    }
    let target = format!("{EVENTS}?limit=1000");
    let get = |client: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nX-Forwarded-For: {client}\r\n\r\n"
        )
    };
    let before = broker.rss()?;
    let mut unread = Vec::new();
    for _ in 0..40 {
        let mut connection = Http1Connection::connect_with(broker.address(), Some(4096)).await?;
        connection.send(get("203.0.113.7")).await?;
        unread.push(connection);
    }
    broker
        .wait_for_metric("eventcast_answer_kibibytes", &[], WAIT_TIMEOUT, |n| n > 20.0 * 1024.0)
        .await?;
    let headers = [("X-Forwarded-For", "198.51.100.1"), ("Accept", "application/json")];
    let other = broker.request(Version::Http1, "GET", &target, &headers).await?.json().await?;
    assert_eq!(other["events"].as_array().map(Vec::len), Some(50), "another client");
    let same = [("X-Forwarded-For", "203.0.113.7"), headers[1]];
    let refused = broker.request(Version::Http1, "GET", &target, &same).await?;
    ensure!(refused.head.header("retry-after").is_some(), "{:?}", refused.head);
    refused.expect_problem(503).await?;
    let grown = broker.rss()?.saturating_sub(before) / MIB;
    ensure!(grown < 250, "{grown} MiB more than before: 40 answers are 500");
    ensure!(broker.metric("eventcast_queries", &[]).await? <= 4.0, "turns are given back");
    drop(unread);
    broker
        .wait_for_metric("eventcast_answer_kibibytes", &[], WAIT_TIMEOUT, |n| n == 0.0)
        .await
        .context("given back")?;
    Ok(())
}
