//! The end of a grant: the notice, the closing, renewal on any broker.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::{
    config::Access,
    stream::access::{STORED_PREFIX, STREAM},
};
use eventcast_tests::{
    broker::Broker,
    http::Version,
    init_tracing,
    issuer::{Issuer, request, subscribe},
    nats::NatsServer,
    sse::EventStream,
};
use serde_json::{Value, json};
use tokio::time::Instant;

const WAIT: Duration = Duration::from_secs(8);

async fn brokers<const N: usize>(nats: &NatsServer, issuer: &Issuer) -> Result<[Broker; N]> {
    let mut brokers = Vec::new();
    for _ in 0..N {
        let token = issuer.trusted();
        let url = nats.url();
        let broker = Broker::start(&url, |config| {
            config.channels[0].access = Access { tokens: vec![token], ..Access::default() };
        });
        brokers.push(broker.await?);
    }
    brokers.try_into().ok().context("as many as wanted")
}

async fn notice(stream: &mut EventStream) -> Result<Value> {
    let notice = stream.next_of("eventcast.expiring", WAIT).await?;
    Ok(serde_json::from_str(&notice.data)?)
}

async fn closing(stream: &mut EventStream) -> Result<String> {
    let closing = stream.next_of("eventcast.closing", WAIT).await?;
    ensure!(stream.next().await?.is_none(), "the stream ends");
    let closing: Value = serde_json::from_str(&closing.data)?;
    Ok(closing["reason"].as_str().unwrap_or_default().to_owned())
}

/// 25: a stream is told that its grant ends, and is closed within a second of the end.
#[tokio::test]
async fn g25_a_stream_ends_with_its_grant() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let [broker] = brokers(&nats, &issuer).await?;
    for version in [Version::Http1, Version::Http2] {
        let began = Instant::now();
        let token = issuer.token("ann", 4, json!({}));
        let mut stream = subscribe(&broker.events_url(""), &token, version).await?;
        let told = notice(&mut stream).await?;
        ensure!(told["in_ms"].as_u64().is_some_and(|ms| ms <= 1000), "{told}");
        let renew = told["renew"].as_str().unwrap_or_default();
        ensure!(renew.starts_with("/channels/default/demo/renewals/evr_"), "{told}");
        ensure!(closing(&mut stream).await? == "expired", "the reason");
        let lasted = began.elapsed();
        ensure!((2500..5500).contains(&lasted.as_millis()), "{lasted:?}");
        let again = stream.reconnect().await.err().map(|e| e.to_string());
        ensure!(
            again.is_some_and(|e| e.contains("401") && e.contains("expired")),
            "a browser stops"
        );
    }
    Ok(())
}

/// 26: any broker renews; another subject is refused; a narrower grant ends the stream so that it reconnects.
#[tokio::test]
async fn g26_a_grant_is_renewed_on_any_broker() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let [here, there] = brokers(&nats, &issuer).await?;
    let short = issuer.token("ann", 4, json!({}));
    let mut stream = subscribe(&here.events_url(""), &short, Version::Http1).await?;
    let mut narrowed = subscribe(&here.events_url(""), &short, Version::Http2).await?;
    let (told, of_narrowed) = (notice(&mut stream).await?, notice(&mut narrowed).await?);
    let path = |told: &Value| told["renew"].as_str().unwrap_or_default().to_owned();
    let url = there.url(&path(&told));
    let foreign = request("POST", &url, &issuer.user("bob"), None).await?;
    ensure!(foreign.status == 403, "{} {}", foreign.status, foreign.json);
    let renewed = request("POST", &url, &issuer.token("ann", 8, json!({})), None).await?;
    ensure!(renewed.status == 200 && renewed.json["expires_at"].is_string(), "{}", renewed.json);
    let renewed_at = Instant::now();
    // An earlier renewal that is read after it changes nothing: a stream that was restored has such.
    let jetstream = nats.jetstream().await?;
    let renewals = format!("{STORED_PREFIX}.default.demo.u.*");
    let stream_of_brokers = jetstream.get_stream(STREAM).await?;
    let stored = stream_of_brokers.get_last_raw_message_by_subject(&renewals).await?;
    let mut earlier: Value = serde_json::from_slice(&stored.payload)?;
    earlier["until"] = json!(earlier["until"].as_i64().context("no end")? - 5);
    jetstream.publish(stored.subject, earlier.to_string().into()).await?.await?;
    let again = notice(&mut stream).await?;
    ensure!(
        again["in_ms"].as_u64().is_some_and(|ms| ms <= 1700),
        "a notice for the new end: {again}"
    );
    ensure!(renewed_at.elapsed() > Duration::from_secs(4), "{:?}", renewed_at.elapsed());
    ensure!(closing(&mut stream).await? == "expired", "at the new end");
    ensure!(closing(&mut narrowed).await? == "expired", "it was not renewed: {of_narrowed}");
    let broken = there.url("/channels/default/demo/renewals/evr_AAAA");
    let refused = request("POST", &broken, &issuer.user("ann"), None).await?;
    ensure!(refused.status == 401, "{} {}", refused.status, refused.json);
    Ok(())
}

/// 26: a grant that no longer covers the stream closes it.
#[tokio::test]
async fn g26_a_narrower_grant_closes_the_stream() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let [broker] = brokers(&nats, &issuer).await?;
    let wide = json!({"grants": {"subscribe": ["team.>"]}});
    let token = issuer.token("ann", 4, wide);
    let mut stream = subscribe(&broker.events_url(""), &token, Version::Http1).await?;
    let told = notice(&mut stream).await?;
    let url = broker.url(told["renew"].as_str().unwrap_or_default());
    let renewed = request("POST", &url, &issuer.user("ann"), None).await?;
    ensure!(renewed.status == 200, "{}", renewed.json);
    ensure!(closing(&mut stream).await? == "grant-changed", "the reason");
    Ok(())
}
