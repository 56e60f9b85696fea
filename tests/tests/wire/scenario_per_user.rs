//! Scenario: targeted push to one user with several tabs, beside broadcasts and custom types, from another origin with
//! credentials.

use std::time::Duration;

use anyhow::Result;
use eventcast_tests::{
    broker::Broker,
    http::{Version, client, created},
    init_tracing,
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use reqwest::Method;

const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
const APP: &str = "https://app.example.com";

async fn tabs(broker: &Broker, user: &str, count: usize) -> Result<Vec<EventStream>> {
    let mut tabs = Vec::new();
    for _ in 0..count {
        tabs.push(
            EventStream::connect(&broker.events_url(&format!("topic=user.{user}")), None).await?,
        );
    }
    Ok(tabs)
}

#[tokio::test]
async fn every_tab_of_a_user_gets_what_is_for_the_user_and_for_everyone_and_nobody_else_does()
-> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let brokers =
        [Broker::start(&nats.url(), |_| {}).await?, Broker::start(&nats.url(), |_| {}).await?];
    let mut alice = tabs(&brokers[0], "alice", 2).await?;
    alice.extend(tabs(&brokers[1], "alice", 1).await?);
    let mut bob = tabs(&brokers[1], "bob", 2).await?;
    let url = brokers[0].events_url("");
    created(&url, "for alice", &[("topic", "user.alice"), ("type", "message.new")]).await?;
    created(&url, "for bob", &[("topic", "user.bob")]).await?;
    created(&url, "for everyone", &[("type", "announcement")]).await?;
    created(&url, "for nobody here", &[("topic", "user.alice.device.7")]).await?;
    created(&url, "again for alice", &[("topic", "user.alice")]).await?;
    created(&url, "the end", &[]).await?;
    let read = async |tab: &mut EventStream| {
        let mut out = Vec::new();
        while out.last().is_none_or(|(_, data)| data != "the end") {
            let event = tab.next_data(WAIT_TIMEOUT).await?;
            out.push((event.event_type, event.data));
        }
        anyhow::Ok(out)
    };
    let expect = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(t, d)| ((*t).to_owned(), (*d).to_owned())).collect()
    };
    for tab in &mut alice {
        let expected = [
            ("message.new", "for alice"),
            ("announcement", "for everyone"),
            ("message", "again for alice"),
            ("message", "the end"),
        ];
        assert_eq!(read(tab).await?, expect(&expected));
    }
    for tab in &mut bob {
        let expected =
            [("message", "for bob"), ("announcement", "for everyone"), ("message", "the end")];
        assert_eq!(read(tab).await?, expect(&expected));
    }
    Ok(())
}

#[tokio::test]
async fn a_tab_that_was_closed_finds_what_its_user_missed() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let mut alice = tabs(&broker, "alice", 1).await?.remove(0);
    let url = broker.events_url("");
    created(&url, "1", &[("topic", "user.alice")]).await?;
    alice.next_data(WAIT_TIMEOUT).await?;
    let cursor = alice.cut();
    for (data, user) in [("2", "user.alice"), ("x", "user.bob"), ("3", "user.alice")] {
        created(&url, data, &[("topic", user)]).await?;
    }
    let own = broker.events_url("topic=user.alice");
    let mut alice = EventStream::connect(&own, cursor.as_deref()).await?;
    assert_eq!(alice.next_data(WAIT_TIMEOUT).await?.data, "2");
    assert_eq!(alice.next_data(WAIT_TIMEOUT).await?.data, "3");
    Ok(())
}

#[tokio::test]
async fn types_and_topics_are_chosen_by_patterns() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |_| {}).await?;
    let query = "topic=orders.*.paid&topic=user.>&type=order.*&type=note";
    let mut stream = EventStream::connect(&broker.events_url(query), None).await?;
    let url = broker.events_url("");
    let all = [
        ("a", "orders.eu.paid", "order.eu", true),
        ("b", "orders.eu.sent", "order.eu", false),
        ("c", "user.1.device.2", "note", true),
        ("d", "user.1", "alert", false),
        ("e", "", "order.all", true),
        ("f", "", "order.all.deep", false),
        ("end", "", "note", true),
    ];
    for (data, topic, kind, _) in all {
        created(&url, data, &[("topic", topic), ("type", kind)]).await?;
    }
    for (data, ..) in all.iter().filter(|(.., due)| *due) {
        assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, *data);
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_another_origin_read_and_publish_with_credentials_where_they_are_listed()
-> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |c| {
        c.channels[0].access.allowed_origins = vec![APP.into()];
        c.channels[0].access.allow_credentials = true;
    })
    .await?;
    let from = async |origin: &str, method: Method, body: &'static str| {
        let request =
            client(Version::Http1).request(method, broker.events_url("")).header("Origin", origin);
        request.header("Access-Control-Request-Method", "POST").body(body).send().await
    };
    let allowed = |answer: &reqwest::Response| {
        let get =
            |name| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        (get("access-control-allow-origin"), get("access-control-allow-credentials"))
    };
    let yes = (Some(APP.to_owned()), Some("true".to_owned()));
    let preflight = from(APP, Method::OPTIONS, "").await?;
    assert_eq!((preflight.status().as_u16(), allowed(&preflight)), (204, yes.clone()));
    let headers = preflight.headers()["access-control-allow-headers"].to_str()?;
    assert!(headers.contains("last-event-id") && headers.contains("idempotency-key"), "{headers}");
    let published = from(APP, Method::POST, "from a page").await?;
    assert_eq!((published.status().as_u16(), allowed(&published)), (201, yes.clone()));

    let headers =
        vec![("Origin".to_owned(), APP.to_owned()), ("Cookie".to_owned(), "a=b".to_owned())];
    let url = broker.events_url("from=earliest");
    let mut stream = EventStream::open(Subscribe { url, headers, ..Subscribe::default() }).await?;
    assert_eq!(stream.header("access-control-allow-origin"), Some(APP));
    assert_eq!(stream.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(stream.header("vary"), Some("Origin"));
    assert_eq!(stream.next_data(WAIT_TIMEOUT).await?.data, "from a page");

    let stranger = from("https://evil.example", Method::POST, "from elsewhere").await?;
    assert_eq!((stranger.status().as_u16(), allowed(&stranger)), (403, (None, None)));
    let history = client(Version::Http1)
        .get(broker.events_url(""))
        .header("Accept", "application/json")
        .header("Origin", "null")
        .send()
        .await?;
    assert_eq!(allowed(&history), (None, None));
    let events = history.json::<serde_json::Value>().await?["events"].as_array().map(Vec::len);
    assert_eq!(events, Some(1), "what the stranger sent was not stored");
    Ok(())
}
