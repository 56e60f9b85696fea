//! Managing a channel over all of its brokers: lists, disconnections, quotas.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::{Access, Quota};
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Publish, Version, client},
    init_tracing,
    issuer::{Issuer, bearer, request, subscribe},
    nats::NatsServer,
    sse::EventStream,
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

const WAIT: Duration = Duration::from_secs(8);
const SUBSCRIBERS: &str = "/channels/default/demo/subscribers";

async fn brokers<const N: usize>(nats: &NatsServer, access: &Access) -> Result<[Broker; N]> {
    let mut brokers = Vec::new();
    for _ in 0..N {
        let url = nats.url();
        let start = Broker::start(&url, |config| config.channels[0].access = access.clone());
        brokers.push(start.await?);
    }
    let brokers: [Broker; N] = brokers.try_into().ok().context("as many as wanted")?;
    Ok(brokers)
}

fn closed(issuer: &Issuer) -> Access {
    Access { tokens: vec![issuer.trusted()], ..Access::default() }
}

async fn closing(stream: &mut EventStream) -> Result<String> {
    let closing = stream.next_of("eventcast.closing", WAIT).await?;
    let closing: Value = serde_json::from_str(&closing.data)?;
    Ok(closing["reason"].as_str().unwrap_or_default().to_owned())
}

/// 28: a subject is disconnected on all brokers within a second; its old credentials are refused, new ones are not, also after
/// restarts.
#[tokio::test]
async fn g28_a_subject_is_disconnected_everywhere() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let [mut one, two, three] = brokers(&nats, &closed(&issuer)).await?;
    let (ann, bob, admin) = (issuer.user("ann"), issuer.user("bob"), issuer.admin());
    let taken = request("POST", &one.url("/channels/default/demo/tickets"), &ann, None).await?;
    let ticket = format!("ticket={}", taken.json["ticket"].as_str().unwrap_or_default());
    let mut streams = Vec::new();
    for broker in [&one, &two, &three] {
        for version in [Version::Http1, Version::Http2] {
            streams.push(subscribe(&broker.events_url(""), &ann, version).await?);
        }
    }
    streams.push(EventStream::connect(&two.events_url(&ticket), None).await?);
    let mut other = subscribe(&two.events_url(""), &bob, Version::Http1).await?;
    eventually("every broker knows the others", WAIT, || async {
        let list = request("GET", &one.url(SUBSCRIBERS), &admin, None).await?;
        ensure!(list.json["brokers"] == 3 && list.json["total"] == 8, "{}", list.json);
        Ok(())
    })
    .await?;
    let by_user =
        request("DELETE", &one.url(&format!("{SUBSCRIBERS}?subject=bob")), &ann, None).await?;
    ensure!(by_user.status == 403, "only who manages: {}", by_user.status);
    let began = Instant::now();
    let url = one.url(&format!("{SUBSCRIBERS}?subject=ann"));
    let answer = request("DELETE", &url, &admin, None).await?;
    ensure!(
        answer.status == 200 && answer.json["closed"] == 7,
        "{} {}",
        answer.status,
        answer.json
    );
    ensure!(answer.json["brokers"] == 3, "{}", answer.json);
    for stream in &mut streams {
        ensure!(closing(stream).await? == "revoked", "the reason");
    }
    ensure!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for broker in [&one, &two, &three] {
        let old = subscribe(&broker.events_url(""), &ann, Version::Http1).await.err();
        ensure!(old.is_some_and(|e| e.to_string().contains("revoked")), "the old token");
        let old = EventStream::connect(&broker.events_url(&ticket), None).await.err();
        ensure!(old.is_some_and(|e| e.to_string().contains("revoked")), "the old ticket");
    }
    one.kill9()?;
    one.restart().await?;
    let old = subscribe(&one.events_url(""), &ann, Version::Http1).await.err();
    ensure!(old.is_some_and(|e| e.to_string().contains("revoked")), "after a restart");
    sleep(Duration::from_millis(1100)).await;
    subscribe(&one.events_url(""), &issuer.user("ann"), Version::Http1).await?;
    let (name, value) = bearer(&admin);
    let event = Publish::new("still here").header(&name, &value);
    event.send(&client(Version::Http1), &two.events_url("")).await?;
    ensure!(other.next_data(WAIT).await?.data == "still here", "others go on");
    Ok(())
}

/// Lists say who is connected where; one session is ended with its ticket.
#[tokio::test]
async fn subscribers_of_all_brokers_are_listed() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let [one, two] = brokers(&nats, &closed(&issuer)).await?;
    let admin = issuer.admin();
    let _streams = [
        subscribe(&one.events_url(""), &issuer.user("ann"), Version::Http1).await?,
        subscribe(&two.events_url("topic=user.bob"), &issuer.user("bob"), Version::Http2).await?,
    ];
    let taken =
        request("POST", &one.url("/channels/default/demo/tickets"), &issuer.user("cay"), None)
            .await?;
    let ticket = format!("ticket={}", taken.json["ticket"].as_str().unwrap_or_default());
    let mut by_ticket = EventStream::connect(&two.events_url(&ticket), None).await?;
    let list = |query: &str| {
        let url = one.url(&format!("{SUBSCRIBERS}{query}"));
        let admin = admin.clone();
        async move { request("GET", &url, &admin, None).await }
    };
    let all = eventually("both brokers answer", WAIT, || async {
        let all = list("").await?;
        ensure!(all.json["brokers"] == 2 && all.json["total"] == 3, "{}", all.json);
        Ok(all)
    })
    .await?;
    let subscribers = all.json["subscribers"].as_array().cloned().unwrap_or_default();
    let bob = subscribers.iter().find(|s| s["subject"] == "bob").context("bob")?;
    ensure!(bob["topics"] == "user.bob, (broadcast)" && bob["address"] == "127.0.0.1", "{bob}");
    ensure!(bob["lag"] == 0 && bob["until"].is_string() && bob["since"].is_string(), "{bob}");
    ensure!(list("?subject=ann").await?.json["total"] == 1, "by subject");
    let few = list("?limit=1").await?;
    ensure!(few.json["total"] == 3, "{}", few.json);
    ensure!(few.json["subscribers"].as_array().is_some_and(|s| s.len() == 1), "{}", few.json);
    let cay = subscribers.iter().find(|s| s["subject"] == "cay").context("cay")?;
    let session = cay["session"].as_str().unwrap_or_default();
    let url = one.url(&format!("{SUBSCRIBERS}?session={session}"));
    let ended = request("DELETE", &url, &admin, None).await?;
    ensure!(ended.json["closed"] == 1, "{}", ended.json);
    ensure!(closing(&mut by_ticket).await? == "revoked", "the reason");
    eventually("its ticket is revoked", WAIT, || async {
        let again = EventStream::connect(&two.events_url(&ticket), by_ticket.cursor()).await.err();
        ensure!(again.is_some_and(|e| e.to_string().contains("revoked")), "it came back");
        Ok(())
    })
    .await?;
    for query in ["", "?subject=", "?session=1", "?subject=a&session=b"] {
        let answer =
            request("DELETE", &one.url(&format!("{SUBSCRIBERS}{query}")), &admin, None).await?;
        ensure!(answer.status == 400, "{query}: {}", answer.status);
    }
    let user = request("GET", &one.url(SUBSCRIBERS), &issuer.user("ann"), None).await?;
    ensure!(user.status == 403, "only who manages: {}", user.status);
    Ok(())
}

/// A quota holds over all brokers.
#[tokio::test]
async fn quotas_count_on_all_brokers() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let mut access = closed(&issuer);
    access.tokens[0].quota = Some("users".into());
    access.quotas = vec![Quota {
        name: "users".into(),
        streams: 2,
        connects_per_minute: 0,
        publishes_per_second: 3,
    }];
    let [one, two] = brokers(&nats, &access).await?;
    let ann = issuer.user("ann");
    let first = subscribe(&one.events_url(""), &ann, Version::Http1).await?;
    let _second = subscribe(&one.events_url(""), &ann, Version::Http2).await?;
    eventually("the other broker has heard", WAIT, || async {
        let mut third = subscribe(&two.events_url(""), &ann, Version::Http1).await?;
        let closed = third.next_within(Duration::from_millis(500)).await?;
        ensure!(
            closed.event_type == "eventcast.closing" && closed.data.contains("quota"),
            "{closed:?}"
        );
        ensure!(third.retry().is_some_and(|ms| ms >= 30_000), "{:?}", third.retry());
        Ok(())
    })
    .await?;
    subscribe(&two.events_url(""), &issuer.user("bob"), Version::Http1).await?;
    drop(first);
    eventually("a stream that ended is free", WAIT, || async {
        let mut third = subscribe(&two.events_url(""), &ann, Version::Http1).await?;
        let event = third.next_within(Duration::from_millis(500)).await?;
        ensure!(event.event_type != "eventcast.closing", "{event:?}");
        Ok(())
    })
    .await?;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let (name, value) = bearer(&ann);
        let event = Publish::new("x").topic("user.ann").header(&name, &value);
        statuses.push(event.send(&client(Version::Http1), &one.events_url("")).await?);
    }
    ensure!(statuses[0].status == 201, "{:?}", statuses[0]);
    let refused =
        statuses.iter().find(|answer| answer.status == 429).context("too many at once")?;
    ensure!(refused.json["limit"] == "publishesPerSecond", "{}", refused.json);
    ensure!(refused.header("retry-after").is_some(), "told when");
    Ok(())
}
