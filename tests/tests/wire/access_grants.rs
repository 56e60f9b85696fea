//! Grants: what a client may read and publish, on every path. The numbers are those of the tests that access control must pass.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_crds::config::{Access, Action};
use eventcast_tests::{
    broker::Broker,
    http::{Answer, Publish, Version, client},
    init_tracing,
    issuer::{Issuer, bearer, request, subscribe},
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use serde_json::{Value, json};

const WAIT: Duration = Duration::from_secs(5);
const VERSIONS: [Version; 2] = [Version::Http1, Version::Http2];

async fn broker(nats: &NatsServer, issuer: &Issuer) -> Result<Broker> {
    let token = issuer.trusted();
    Broker::start(&nats.url(), |config| {
        config.channels[0].access = Access { tokens: vec![token], ..Access::default() };
    })
    .await
}

async fn publish(broker: &Broker, token: &str, event: Publish) -> Result<Answer> {
    let (name, value) = bearer(token);
    event.header(&name, &value).send(&client(Version::Http1), &broker.events_url("")).await
}

async fn stored(broker: &Broker, token: &str, data: &str, topic: Option<&str>) -> Result<()> {
    let event = Publish::new(data);
    let event = topic.map_or(event.clone(), |topic| event.topic(topic));
    let answer = publish(broker, token, event).await?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    Ok(())
}

fn data_of(history: &Value) -> Vec<&str> {
    let events = history["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().filter_map(|event| event["data"].as_str()).collect()
}

/// 19: a subject that looks like a pattern gets its own events alone, live and past.
#[tokio::test]
async fn g19_a_subject_is_never_a_pattern() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let admin = issuer.admin();
    let subjects =
        [("*", "user.%2A"), (">", "user.%3E"), ("a.b", "user.a%2Eb"), ("%2E", "user.%252E")];
    for (_, topic) in [("ann", "user.ann"), ("a", "user.a.b")].iter().chain(&subjects) {
        stored(&broker, &admin, &format!("for {topic}"), Some(topic)).await?;
    }
    for (subject, topic) in subjects {
        let token = issuer.user(subject);
        let own = format!("for {topic}");
        for version in VERSIONS {
            for start in ["from=earliest", "from=last:5"] {
                let mut stream = subscribe(&broker.events_url(start), &token, version).await?;
                ensure!(stream.next_data(WAIT).await?.data == own, "{subject} {start}");
                let live = format!("live for {topic}");
                stored(&broker, &admin, "live for ann", Some("user.ann")).await?;
                stored(&broker, &admin, &live, Some(topic)).await?;
                let next = stream.next_data(WAIT).await?.data;
                ensure!(next == own || next.starts_with("live for user."), "{subject}: {next}");
                ensure!(!next.contains("ann"), "{subject}: {next}");
            }
        }
        let get = client(Version::Http1).get(broker.events_url("limit=1000"));
        let history = get.bearer_auth(&token).header("Accept", "application/json").send().await?;
        let history = Answer::read(history).await?;
        let data = data_of(&history.json);
        ensure!(data.first() == Some(&own.as_str()), "{subject}: {data:?}");
        ensure!(data.iter().all(|d| d.ends_with(topic)), "{subject}: {data:?}");
        let stats =
            request("GET", &broker.url("/channels/default/demo/stats"), &token, None).await?;
        ensure!(stats.json["events"] == data.len(), "{subject}: {}", stats.json);
    }
    for subject in ["x".repeat(300), "a\nb".into(), String::new()] {
        let token = issuer.user(&subject);
        let opened =
            subscribe(&broker.events_url("from=earliest&topic=>"), &token, Version::Http1).await;
        let error = opened.err().map(|e| e.to_string()).unwrap_or_default();
        ensure!(error.contains("403") || error.contains("401"), "{subject:?}: {error}");
    }
    Ok(())
}

/// 20: what is asked for is narrowed, and the client is told; what has nothing in common is refused.
#[tokio::test]
async fn g20_what_is_asked_for_is_narrowed_or_refused() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let ann = issuer.user("ann");
    for version in VERSIONS {
        let narrowed = subscribe(&broker.events_url("topic=user.*"), &ann, version).await?;
        ensure!(narrowed.header("eventcast-topics") == Some("user.ann, (broadcast)"), "told");
        let refused = subscribe(&broker.events_url("topic=user.bob"), &ann, version).await.err();
        let refused = refused.map(|e| e.to_string()).unwrap_or_default();
        ensure!(refused.contains("403") && refused.contains("user.bob"), "{refused}");
        let anonymous = Subscribe { url: broker.events_url(""), version, ..Subscribe::default() };
        let anonymous = EventStream::open(anonymous).await.err().map(|e| e.to_string());
        ensure!(anonymous.is_some_and(|e| e.contains("401")), "no credential");
    }
    let access = request("GET", &broker.url("/channels/default/demo/access"), &ann, None).await?;
    ensure!(access.json["subject"] == "ann" && access.json["way"] == "token", "{}", access.json);
    ensure!(access.json["subscribe"] == json!({"topics": ["user.ann"], "broadcast": true}), "told");
    ensure!(access.json["manage"] == false && access.json["expires_at"].is_string(), "told");
    let channel = request("GET", &broker.url("/channels/default/demo"), &ann, None).await?;
    ensure!(channel.status == 200 && channel.json["events"].is_null(), "{}", channel.json);
    let all = request("GET", &broker.url("/channels/default/demo"), &issuer.admin(), None).await?;
    ensure!(all.json["events"] == 0, "{}", all.json);
    Ok(())
}

/// 21: nothing of a batch is stored if an event of it is not granted, and a broadcast needs a grant of its own.
#[tokio::test]
async fn g21_a_batch_is_stored_whole_or_not_at_all() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let ann = issuer.user("ann");
    let lines =
        ["user.ann", "user.bob"].map(|topic| json!({"topic": topic, "data": "x"}).to_string());
    let batch = Publish::new(lines.join("\n")).header("Content-Type", "application/x-ndjson");
    let refused = publish(&broker, &ann, batch).await?;
    ensure!(
        refused.status == 403 && refused.json["line"] == 2,
        "{} {}",
        refused.status,
        refused.json
    );
    ensure!(refused.json["detail"].as_str().is_some_and(|d| d.contains("user.bob")), "named");
    let broadcast = publish(&broker, &ann, Publish::new("to all")).await?;
    ensure!(broadcast.status == 403, "{} {}", broadcast.status, broadcast.json);
    let count =
        request("GET", &broker.url("/channels/default/demo"), &issuer.admin(), None).await?;
    ensure!(count.json["events"] == 0, "nothing was stored: {}", count.json);
    stored(&broker, &ann, "mine", Some("user.ann")).await?;
    let mut bob =
        subscribe(&broker.events_url("from=earliest"), &issuer.user("bob"), Version::Http1).await?;
    stored(&broker, &issuer.admin(), "for all", None).await?;
    ensure!(bob.next_data(WAIT).await?.data == "for all", "and nothing of ann's");
    Ok(())
}

/// 22: the idempotency key of one publisher does not suppress the event of another.
#[tokio::test]
async fn g22_keys_belong_to_their_publisher() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    for (subject, duplicate) in [("ann", false), ("bob", false), ("ann", true)] {
        let event = Publish::new("x").topic(&format!("user.{subject}")).key("order-1");
        let answer = publish(&broker, &issuer.user(subject), event).await?;
        ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
        ensure!(answer.json["duplicate"] == duplicate, "{subject}: {}", answer.json);
    }
    Ok(())
}

/// 23: every published event is counted once for each subscriber, delivered or filtered, also where the grant is what filters.
#[tokio::test]
async fn g23_the_ledger_holds_for_narrowed_subscribers() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let admin = issuer.admin();
    let mut streams = Vec::new();
    for subject in ["ann", "bob", "cay"] {
        for version in VERSIONS {
            let token = issuer.user(subject);
            streams.push((subject, subscribe(&broker.events_url(""), &token, version).await?));
        }
    }
    for number in 0..30 {
        let topic = format!("user.{}", ["ann", "bob", "dan"][number % 3]);
        stored(&broker, &admin, &number.to_string(), Some(&topic)).await?;
    }
    stored(&broker, &admin, "end", None).await?;
    for (subject, stream) in &mut streams {
        let mut got = 0;
        while stream.next_data(WAIT).await?.data != "end" {
            got += 1;
        }
        ensure!(got == if *subject == "cay" { 0 } else { 10 }, "{subject}: {got}");
    }
    let outcomes = ["delivered", "filtered"].map(|outcome| [("outcome", outcome)]);
    eventcast_tests::eventually("the counts add up", WAIT, || async {
        let mut sum = 0.0;
        for outcome in &outcomes {
            sum += broker.metric("eventcast_subscriber_events_total", outcome).await?;
        }
        ensure!(sum >= 31.0 * 6.0, "{sum}");
        Ok(())
    })
    .await
}

/// Erasing needs the grant to publish to everything that is erased.
#[tokio::test]
async fn erasing_is_limited_to_what_may_be_published() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let (ann, admin) = (issuer.user("ann"), issuer.admin());
    let event = Publish::new("bob's").topic("user.bob");
    let cursor = publish(&broker, &admin, event).await?.json["cursor"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    stored(&broker, &ann, "ann's", Some("user.ann")).await?;
    for (query, status) in
        [("topic=user.bob", 403), ("topic=user.*", 403), ("topic=>", 403), ("topic=user.ann", 204)]
    {
        let answer = request("DELETE", &broker.events_url(query), &ann, None).await?;
        ensure!(answer.status == status, "{query}: {} {}", answer.status, answer.json);
    }
    let url = broker.url(&format!("/channels/default/demo/events/{cursor}"));
    ensure!(request("DELETE", &url, &ann, None).await?.status == 403, "by its cursor");
    ensure!(request("DELETE", &url, &admin, None).await?.status == 204, "with the grant");
    Ok(())
}

/// A feed that everyone reads, with topics that need a credential.
#[tokio::test]
async fn public_topics_need_no_credential() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let token = issuer.trusted();
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].access = Access {
            anonymous: vec![Action::Subscribe],
            anonymous_topics: vec!["public.>".into()],
            tokens: vec![token],
            ..Access::default()
        };
    })
    .await?;
    let admin = issuer.admin();
    stored(&broker, &admin, "private", Some("user.ann")).await?;
    stored(&broker, &admin, "public", Some("public.news")).await?;
    let mut open = EventStream::connect(&broker.events_url("from=earliest"), None).await?;
    ensure!(open.next_data(WAIT).await?.data == "public", "the public topic alone");
    let private = EventStream::connect(&broker.events_url("topic=user.ann"), None).await.err();
    ensure!(private.is_some_and(|e| e.to_string().contains("401")), "a login may help");
    // Never downgraded: a credential that does not hold is not treated as none.
    for version in VERSIONS {
        let bad = subscribe(&broker.events_url(""), "not-a-token", version).await.err();
        ensure!(bad.is_some_and(|e| e.to_string().contains("401")), "{version:?}");
        let late =
            subscribe(&broker.events_url(""), &issuer.token("ann", -60, json!({})), version).await;
        ensure!(late.err().is_some_and(|e| e.to_string().contains("expired")), "{version:?}");
    }
    Ok(())
}
