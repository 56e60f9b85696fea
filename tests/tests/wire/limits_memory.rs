//! Bodies on their way in and answers on their way out have a budget, of which one client has a part.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::BrokerConfig;
use eventcast_tests::{
    broker::networks,
    eventually,
    http::{Publish, RawConn, Version},
    wire::{EVENTS, Site, Wire},
};
use futures_util::future::join_all;

const SOON: Duration = Duration::from_secs(8);
const MIB: u64 = 1 << 20;
const BATCH: usize = 4 << 20;

async fn start(change: impl FnOnce(&mut BrokerConfig)) -> Result<Site> {
    Site::start(|config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        change(config);
    })
    .await
}

/// A batch of 4 MiB that lacks its last byte.
async fn endless(site: &Site, client: &str, chunked: bool) -> Result<RawConn> {
    let mut connection = RawConn::connect(site.broker.address()).await?;
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
async fn publish(site: &Site, client: &str) -> Result<u16> {
    let headers = [("X-Forwarded-For", client)];
    let answer = Wire::ask(Version::One, site.broker.address(), "POST", EVENTS, &headers, b"small");
    let answer = answer.await?;
    if answer.head.status == 503 {
        ensure!(answer.head.header("retry-after").is_some(), "{:?}", answer.head);
    }
    Ok(answer.head.status)
}

#[tokio::test]
async fn bodies_of_one_client_that_never_end_take_neither_memory_nor_room_from_others() -> Result<()>
{
    let site = start(|_| {}).await?;
    let before = site.broker.rss()?;
    // sending ends when the broker reads no more, and then the connection is refused
    let sending = join_all((0..150).map(|n| endless(&site, "203.0.113.7:40000", n % 2 == 0)));
    let others = async {
        let mut most = 0;
        for n in 0..40 {
            assert_eq!(publish(&site, &format!("198.51.100.{n}")).await?, 201, "another client");
            most = most.max(site.broker.rss()?);
        }
        anyhow::Ok(most)
    };
    let (connections, most) = tokio::join!(sending, others);
    let most = most?.max(site.broker.rss()?);
    let grown = most.saturating_sub(before) / MIB;
    ensure!(grown < 120, "{grown} MiB more than before: 16 are for one client");
    ensure!(site.broker.metric("eventcast_body_kibibytes", &[]).await? <= 16.0 * 1024.0, "budget");
    let busy = [("outcome", "busy")];
    site.metric("eventcast_publish_total", &busy, SOON, |n| n >= 100.0).await?;
    drop(connections);
    site.metric("eventcast_body_kibibytes", &[], SOON, |n| n == 0.0).await?;
    assert_eq!(publish(&site, "203.0.113.7").await?, 201, "the client itself, once it is done");
    Ok(())
}

#[tokio::test]
async fn bodies_of_many_clients_that_never_end_are_bounded_together() -> Result<()> {
    let site = start(|_| {}).await?;
    let before = site.broker.rss()?;
    let clients: Vec<_> = (0..150).map(|n| format!("203.0.113.{n}")).collect();
    let sending = join_all(clients.iter().map(|client| endless(&site, client, false)));
    let watching = async {
        let mut most = 0;
        for _ in 0..20 {
            let status = publish(&site, "198.51.100.1").await?;
            ensure!([201, 503].contains(&status), "{status}");
            most = most.max(site.broker.rss()?);
        }
        anyhow::Ok(most)
    };
    let (connections, most) = tokio::join!(sending, watching);
    let grown = most?.saturating_sub(before) / MIB;
    ensure!(grown < 250, "{grown} MiB more than before: the budget of all is 64");
    drop(connections);
    eventually("room again", SOON, async || {
        ensure!(publish(&site, "198.51.100.1").await? == 201, "not yet");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_body_has_its_room_until_it_is_acknowledged() -> Result<()> {
    let site = start(|config| config.nats.ack_milliseconds = 10_000).await?;
    site.publish("NATS is there").await?;
    site.nats.pause()?;
    let big = vec![b'x'; 200 << 10];
    let headers = [("X-Forwarded-For", "203.0.113.7")];
    let address = site.broker.address();
    let asking = Wire::ask(Version::One, address, "POST", EVENTS, &headers, &big);
    let held = async {
        site.metric("eventcast_body_kibibytes", &[], SOON, |n| n == 200.0).await?;
        site.nats.resume()
    };
    let (answer, held) = tokio::join!(asking, held);
    assert_eq!(answer?.head.status, 201);
    held?;
    site.metric("eventcast_body_kibibytes", &[], SOON, |n| n == 0.0).await?;
    Ok(())
}

#[tokio::test]
async fn answers_that_are_not_read_are_bounded_and_leave_room_for_other_clients() -> Result<()> {
    let site = start(|_| {}).await?;
    let data = "x".repeat(250 << 10);
    for _ in 0..50 {
        ensure!(site.send(&Publish::new(data.clone())).await?.status == 201, "not stored");
    }
    let target = format!("{EVENTS}?limit=1000");
    let get = |client: &str| {
        format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nX-Forwarded-For: {client}\r\n\r\n"
        )
    };
    let before = site.broker.rss()?;
    let mut unread = Vec::new();
    for _ in 0..40 {
        let mut connection = RawConn::connect_with(site.broker.address(), Some(4096)).await?;
        connection.send(get("203.0.113.7")).await?;
        unread.push(connection);
    }
    site.metric("eventcast_answer_kibibytes", &[], SOON, |n| n > 20.0 * 1024.0).await?;
    let headers = [("X-Forwarded-For", "198.51.100.1"), ("Accept", "application/json")];
    let other = site.ask(Version::One, "GET", &target, &headers).await?.json().await?;
    assert_eq!(other["events"].as_array().map(Vec::len), Some(50), "another client");
    let same = [("X-Forwarded-For", "203.0.113.7"), headers[1]];
    let refused = site.ask(Version::One, "GET", &target, &same).await?;
    ensure!(refused.head.header("retry-after").is_some(), "{:?}", refused.head);
    refused.problem(503).await?;
    let grown = site.broker.rss()?.saturating_sub(before) / MIB;
    ensure!(grown < 250, "{grown} MiB more than before: 40 answers are 500");
    ensure!(site.broker.metric("eventcast_queries", &[]).await? <= 4.0, "turns are given back");
    drop(unread);
    site.metric("eventcast_answer_kibibytes", &[], SOON, |n| n == 0.0)
        .await
        .context("given back")?;
    Ok(())
}
