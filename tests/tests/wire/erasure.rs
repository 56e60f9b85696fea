//! Erasing events on request: who is allowed to, what is gone afterwards and where, and what is rejected.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_crds::config::Action;
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Answer, Version, client, publish},
    init_tracing,
    nats::NatsServer,
    sse::EventStream,
};
use reqwest::Method;
use serde_json::Value;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Within this another broker has followed.
const FORGET_TIMEOUT: Duration = Duration::from_secs(2);

async fn request(method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let mut request = client(Version::Http1).request(method, url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::read(request.send().await?).await
}

async fn delete(url: &str) -> Result<Answer> {
    request(Method::DELETE, url, &[]).await
}

async fn history(broker: &Broker) -> Result<Vec<String>> {
    let url = broker.events_url("");
    let answer = request(Method::GET, &url, &[("Accept", "application/json")]).await?;
    let events = answer.json["events"].as_array().context("no events")?;
    Ok(events.iter().filter_map(|e| Some(e["data"].as_str()?.to_owned())).collect())
}

fn event_url(broker: &Broker, cursor: &str) -> String {
    broker.url(&format!("/channels/default/demo/events/{cursor}"))
}

async fn one(nats: &NatsServer) -> Result<Broker> {
    Broker::start(&nats.url(), |_| {}).await
}

/// Publishes events of two users, alternately; gives their cursors.
async fn two_users(broker: &Broker, count: usize) -> Result<Vec<String>> {
    let mut cursors = Vec::new();
    for n in 0..count {
        let topic = ["user.42", "user.43"][n % 2];
        let answer =
            publish(&broker.events_url(""), &format!("event {n}"), &[("topic", topic)]).await?;
        cursors.push(answer.cursor().context("no cursor")?.to_owned());
    }
    Ok(cursors)
}

#[tokio::test]
async fn an_erased_event_is_gone_at_once_and_soon_everywhere() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let (broker, other) = (one(&nats).await?, one(&nats).await?);
    let cursors = two_users(&broker, 6).await?;
    eventually("the other broker has all events", WAIT_TIMEOUT, || async {
        let count = history(&other).await?.len();
        ensure!(count == 6, "{count}");
        Ok(())
    })
    .await?;
    let answer = delete(&event_url(&broker, &cursors[2])).await?;
    assert_eq!((answer.status, &answer.json), (204, &Value::Null));
    let left = ["event 0", "event 1", "event 3", "event 4", "event 5"];
    assert_eq!(history(&broker).await?, left, "at once where it was asked for");
    eventually("the other broker has followed", FORGET_TIMEOUT, || async {
        let seen = history(&other).await?;
        ensure!(seen == left, "{seen:?}");
        Ok(())
    })
    .await?;
    for broker in [&broker, &other] {
        // Neither from before it nor from its own cursor is anything missed or repeated, or a gap declared.
        for (cursor, due) in [(&cursors[1], &left[2..]), (&cursors[2], &left[2..])] {
            let mut stream = EventStream::connect(&broker.events_url(""), Some(cursor)).await?;
            for data in due {
                let event = stream.next_data(WAIT_TIMEOUT).await?;
                assert_eq!(&event.data, data);
            }
        }
    }
    let again = delete(&event_url(&other, &cursors[2])).await?;
    assert_eq!(again.status, 204, "what is gone is gone: a repetition is no error");
    let erased = |outcome| [("channel", "default/demo"), ("outcome", outcome)];
    assert_eq!(broker.metric("eventcast_erasures_total", &erased("erased")).await?, 1.0);
    assert_eq!(broker.metric("eventcast_erased_events_total", &[]).await?, 1.0);
    assert_eq!(other.metric("eventcast_erased_events_total", &[]).await?, 0.0);
    Ok(())
}

#[tokio::test]
async fn a_user_is_forgotten_by_topic() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let (broker, other) = (one(&nats).await?, one(&nats).await?);
    two_users(&broker, 6).await?;
    publish(&broker.events_url(""), "for all", &[]).await?;
    publish(&broker.events_url(""), "mail", &[("topic", "user.42.mail")]).await?;
    let mut subscriber = EventStream::connect(&other.events_url("topic=user.43"), None).await?;
    // The first is the cursor at which it begins.
    assert!(subscriber.next_within(WAIT_TIMEOUT).await?.is_control());
    let answer = delete(&broker.events_url("topic=user.42&topic=user.42.%3E")).await?;
    assert_eq!(answer.status, 204, "{}", answer.json);
    let left = ["event 1", "event 3", "event 5", "for all"];
    assert_eq!(history(&broker).await?, left);
    eventually("the other broker has followed", FORGET_TIMEOUT, || async {
        let seen = history(&other).await?;
        ensure!(seen == left, "{seen:?}");
        Ok(())
    })
    .await?;
    publish(&broker.events_url(""), "next", &[("topic", "user.43")]).await?;
    let next = subscriber.next_within(WAIT_TIMEOUT).await?;
    assert_eq!(next.data, "next", "nobody else is told: {}", next.raw);
    assert_eq!(broker.metric("eventcast_erased_events_total", &[]).await?, 4.0);
    let log = broker.log();
    assert!(log.contains("erase") && !log.contains("user.42"), "logged, but not whose: {log}");
    Ok(())
}

#[tokio::test]
async fn an_erased_event_is_not_on_the_disk_any_more() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let broker = one(&nats).await?;
    let secret = "a secret that is nowhere else: 8f14e45fceea167a";
    let answer = publish(&broker.events_url(""), secret, &[]).await?;
    let other = publish(&broker.events_url(""), "this stays", &[]).await?;
    assert_eq!(other.status, 201);
    assert_eq!(
        delete(&event_url(&broker, answer.cursor().context("no cursor")?)).await?.status,
        204
    );
    nats.terminate().await?;
    let store = nats.snapshot()?;
    assert!(store.contains(b"this stays")?, "the store is looked at as it is");
    assert!(!store.contains(secret.as_bytes())?, "the bytes are overwritten");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_erased_is_refused_with_reasons() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = one(&nats).await?;
    let cursors = two_users(&broker, 3).await?;
    let (front, check) = cursors[1].rsplit_once('-').context("no check")?;
    let (epoch, _) = front.split_once('-').context("no sequence")?;
    let wrong_check = if check == "zzz" { "yyy" } else { "zzz" };
    for (cursor, status) in [
        ("nonsense".to_owned(), 400),
        (format!("{front}-{wrong_check}"), 404),
        (format!("{epoch}-99-{check}"), 404),
        (format!("{epoch}-0-000"), 404),
        (format!("aaaaaa-2-{check}"), 404),
    ] {
        let answer = delete(&event_url(&broker, &cursor)).await?;
        assert_eq!(answer.status, status, "{cursor}: {}", answer.json);
    }
    for query in ["", "topic=", "topic=a..b", "topic=%3E.a"] {
        let answer = delete(&broker.events_url(query)).await?;
        assert_eq!((answer.status, &answer.json["field"]), (400, &"topic".into()), "{query:?}");
    }
    let foreign = [("Origin", "https://evil.example")];
    let url = broker.events_url("topic=user.42");
    assert_eq!(request(Method::DELETE, &url, &foreign).await?.status, 403);
    let preflight = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "DELETE")];
    let answer = request(Method::OPTIONS, &url, &preflight).await?;
    assert!(answer.header("allow").is_some_and(|allow| allow.contains("DELETE")));
    let answer = request(Method::PATCH, &event_url(&broker, &cursors[0]), &[]).await?;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("DELETE, OPTIONS")));
    assert_eq!(history(&broker).await?.len(), 3, "nothing was erased");
    Ok(())
}

#[tokio::test]
async fn only_publishers_may_erase() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = one(&nats).await?;
    let cursors = two_users(&broker, 2).await?;
    for (change, status) in [("anonymous", 401), ("publishing", 403)] {
        let closed = Broker::start(&nats.url(), |config| match change {
            "anonymous" => config.channels[0].access.anonymous = vec![Action::Subscribe],
            _ => config.channels[0].publishing.enabled = false,
        })
        .await?;
        assert_eq!(delete(&closed.events_url("topic=user.42")).await?.status, status);
        assert_eq!(delete(&event_url(&closed, &cursors[0])).await?.status, status);
    }
    assert_eq!(history(&broker).await?.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_log_that_keeps_its_events_or_is_away_says_so() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    let broker = one(&nats).await?;
    let cursors = two_users(&broker, 2).await?;
    let context = nats.jetstream().await?;
    let mut config = context.get_stream("SSE_default_demo").await?.get_info().await?.config;
    (config.deny_delete, config.deny_purge) = (true, true);
    context.update_stream(config).await?;
    for url in [broker.events_url("topic=user.42"), event_url(&broker, &cursors[0])] {
        let answer = delete(&url).await?;
        assert_eq!(answer.status, 409, "{}", answer.json);
        assert!(answer.json["detail"].as_str().is_some_and(|d| d.contains("deny_")));
    }
    nats.kill9()?;
    broker
        .settled("NATS is gone", WAIT_TIMEOUT, |m| {
            ensure!(m.metric("eventcast_nats_connected", &[]) == 0.0);
            Ok(())
        })
        .await?;
    for url in [broker.events_url("topic=user.42"), event_url(&broker, &cursors[0])] {
        let answer = delete(&url).await?;
        assert_eq!(answer.status, 503, "{}", answer.json);
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(history(&broker).await?.len(), 2, "nothing was erased");
    Ok(())
}
