//! Tickets: taken with a credential, used in a URL or a cookie, on any broker, across restarts.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_crds::config::Access;
use eventcast_tests::{
    broker::Broker,
    eventually,
    http::{Answer, Publish, Version, client},
    init_tracing,
    issuer::{Issuer, publish, request, subscribe},
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use serde_json::{Value, json};
use tokio::time::sleep;

const WAIT: Duration = Duration::from_secs(10);
const TICKETS: &str = "/channels/default/demo/tickets";

fn closed(issuer: &Issuer) -> Access {
    Access { tokens: vec![issuer.trusted()], ..Access::default() }
}

async fn broker(nats: &NatsServer, issuer: &Issuer) -> Result<Broker> {
    Broker::start(&nats.url(), |config| config.channels[0].access = closed(issuer)).await
}

async fn ticket(broker: &Broker, token: &str, body: Value) -> Result<Value> {
    let answer = request("POST", &broker.url(TICKETS), token, Some(body)).await?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    Ok(answer.json)
}

/// 30: a client that reconnects with its ticket misses nothing, on another broker and after a restart of all of them.
#[tokio::test]
async fn g30_a_ticket_resumes_on_any_broker() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let (mut here, there) = (broker(&nats, &issuer).await?, broker(&nats, &issuer).await?);
    let taken = ticket(&here, &issuer.user("ann"), json!({})).await?;
    let query = format!("ticket={}", taken["ticket"].as_str().unwrap_or_default());
    ensure!(taken["url"].as_str().is_some_and(|url| url.ends_with(&query)), "{taken}");
    let mut stream = EventStream::connect(&here.events_url(&query), None).await?;
    publish(&here, &issuer, "one").await?;
    ensure!(stream.next_data(WAIT).await?.data == "one", "live");
    let cursor = stream.cut();
    publish(&there, &issuer, "two").await?;
    let mut stream = EventStream::connect(&there.events_url(&query), cursor.as_deref()).await?;
    ensure!(stream.next_data(WAIT).await?.data == "two", "on another broker");
    let cursor = stream.cut();
    here.kill9()?;
    here.restart().await?;
    publish(&here, &issuer, "three").await?;
    let mut stream = EventStream::connect(&here.events_url(&query), cursor.as_deref()).await?;
    ensure!(stream.next_data(WAIT).await?.data == "three", "after a restart");
    for version in [Version::Http1, Version::Http2] {
        let url = here.events_url(&format!("{query}&from=earliest"));
        let mut all = EventStream::open(Subscribe { url, version, ..Subscribe::default() }).await?;
        ensure!(all.next_data(WAIT).await?.data == "one", "{version:?}");
    }
    let history = client(Version::Http1).get(here.events_url(&query));
    let history = Answer::read(history.header("Accept", "application/json").send().await?).await?;
    ensure!(history.json["events"].as_array().is_some_and(|e| e.len() == 3), "{}", history.json);
    Ok(())
}

/// 31: after a minute a ticket in a URL is good for a client that has a cursor, and for nobody else.
#[tokio::test]
async fn g31_a_ticket_from_a_log_is_soon_of_no_use() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let ann = issuer.user("ann");
    let short = ticket(&broker, &ann, json!({"seconds": 2})).await?;
    let taken = ticket(&broker, &ann, json!({})).await?;
    let query =
        |ticket: &Value| format!("ticket={}", ticket["ticket"].as_str().unwrap_or_default());
    let stream = EventStream::connect(&broker.events_url(&query(&taken)), None).await?;
    publish(&broker, &issuer, "one").await?;
    let mut stream = stream;
    stream.next_data(WAIT).await?;
    let cursor = stream.cut();
    sleep(Duration::from_secs(3)).await;
    let expired = EventStream::connect(&broker.events_url(&query(&short)), cursor.as_deref()).await;
    ensure!(expired.err().is_some_and(|e| e.to_string().contains("expired")), "beyond its end");
    sleep(Duration::from_secs(59)).await;
    let late = EventStream::connect(&broker.events_url(&query(&taken)), None).await.err();
    ensure!(late.is_some_and(|e| e.to_string().contains("ticket-used-late")), "without a cursor");
    EventStream::connect(&broker.events_url(&query(&taken)), cursor.as_deref()).await?;
    Ok(())
}

/// 32: tickets read, and do nothing else; a changed one, or one of another channel, is nothing.
#[tokio::test]
async fn g32_a_ticket_only_reads() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let access = closed(&issuer);
    let broker = Broker::start(&nats.url(), |config| {
        config.channels[0].access = access.clone();
        let mut other = config.channels[0].clone();
        other.name = "other".into();
        config.channels.push(other);
    })
    .await?;
    let taken = ticket(&broker, &issuer.user("ann"), json!({})).await?;
    let text = taken["ticket"].as_str().unwrap_or_default();
    let query = format!("ticket={text}");
    let http = client(Version::Http1);
    let post = Publish::new("x").topic("user.ann").send(&http, &broker.events_url(&query)).await?;
    ensure!(post.status == 403, "{} {}", post.status, post.json);
    let again = http.post(broker.url(&format!("{TICKETS}?{query}"))).send().await?;
    ensure!(again.status() == 403, "a ticket takes no ticket: {}", again.status());
    let renewal = taken["renew"].as_str().unwrap_or_default();
    let by_ticket = http.post(broker.url(&format!("{renewal}?{query}"))).send().await?;
    ensure!(by_ticket.status() == 403, "nor renews: {}", by_ticket.status());
    let elsewhere = broker.url(&format!("/channels/default/other/events?{query}"));
    ensure!(EventStream::connect(&elsewhere, None).await.is_err(), "of another channel");
    let in_header = subscribe(&broker.events_url(""), text, Version::Http1).await.err();
    ensure!(in_header.is_some_and(|e| e.to_string().contains("401")), "in a header");
    let both = http.get(broker.events_url(&query)).bearer_auth(issuer.user("ann")).send().await?;
    ensure!(both.status() == 400, "two credentials: {}", both.status());
    for at in [10, text.len() / 2, text.len() - 2] {
        let mut changed = text.as_bytes().to_vec();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = format!("ticket={}", String::from_utf8(changed)?);
        let refused = EventStream::connect(&broker.events_url(&changed), None).await.err();
        ensure!(refused.is_some_and(|e| e.to_string().contains("401")), "changed at {at}");
    }
    let anonymous = http.post(broker.url(TICKETS)).send().await?;
    ensure!(anonymous.status() == 401, "without a credential: {}", anonymous.status());
    Ok(())
}

/// A ticket may be narrower than its credential, never wider; a backend takes tickets for its users.
#[tokio::test]
async fn tickets_are_narrowed_and_taken_for_others() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let broker = broker(&nats, &issuer).await?;
    let (ann, admin) = (issuer.user("ann"), issuer.admin());
    for (token, body, status) in [
        (&ann, json!({"topics": ["user.bob"]}), 403),
        (&ann, json!({"topics": ["user.*"]}), 403),
        (&ann, json!({"subject": "bob", "topics": ["user.ann"]}), 403),
        (&ann, json!({"seconds": 4000}), 400),
        (&ann, json!({"topics": ["a..b"]}), 400),
        (&ann, json!({"unknown": 1}), 400),
        (&admin, json!({"subject": "bob"}), 400),
        (&admin, json!({"subject": "bob", "topics": ["user.bob"], "broadcast": false}), 201),
    ] {
        let answer = request("POST", &broker.url(TICKETS), token, Some(body.clone())).await?;
        ensure!(answer.status == status, "{body}: {} {}", answer.status, answer.json);
        if let Some(ticket) = answer.json["ticket"].as_str() {
            let access = broker.url(&format!("/channels/default/demo/access?ticket={ticket}"));
            let access = Answer::read(client(Version::Http1).get(access).send().await?).await?;
            ensure!(access.json["subject"] == "bob", "{}", access.json);
            let topics = json!({"topics": ["user.bob"], "broadcast": false});
            ensure!(access.json["subscribe"] == topics, "{}", access.json);
        }
    }
    Ok(())
}

/// A renewed ticket lives on, also while no stream is open.
#[tokio::test]
async fn a_renewed_ticket_lives_on() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let (here, there) = (broker(&nats, &issuer).await?, broker(&nats, &issuer).await?);
    let taken = ticket(&here, &issuer.user("ann"), json!({"seconds": 3})).await?;
    let renew = here.url(taken["renew"].as_str().unwrap_or_default());
    let renewed = request("POST", &renew, &issuer.user("ann"), None).await?;
    ensure!(renewed.status == 200, "{} {}", renewed.status, renewed.json);
    sleep(Duration::from_secs(4)).await;
    let query = format!("ticket={}", taken["ticket"].as_str().unwrap_or_default());
    for broker in [&here, &there] {
        EventStream::connect(&broker.events_url(&query), None).await?;
    }
    Ok(())
}

/// What cannot be judged now is not refused: a stream is told to come back, everything else is 503.
#[tokio::test]
async fn without_nats_nothing_is_judged_wrongly() -> Result<()> {
    init_tracing();
    let (mut nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let mut broker = broker(&nats, &issuer).await?;
    let ann = issuer.user("ann");
    let taken = ticket(&broker, &ann, json!({})).await?;
    let query = format!("ticket={}", taken["ticket"].as_str().unwrap_or_default());
    nats.terminate().await?;
    let renew = broker.url(taken["renew"].as_str().unwrap_or_default());
    let renewed = request("POST", &renew, &ann, None).await?;
    ensure!(renewed.status == 503, "a renewal is not confirmed: {}", renewed.status);
    // What is known holds: the ticket is good.
    let url = broker.url(&format!("/channels/default/demo/access?{query}"));
    ensure!(client(Version::Http1).get(&url).send().await?.status() == 200, "known keys");
    broker.kill9()?;
    broker.relaunch().await?;
    let answer = client(Version::Http1).get(&url).send().await?;
    ensure!(answer.status() == 503, "not 401: {}", answer.status());
    let mut stream = EventStream::connect(&broker.events_url(&query), None).await?;
    let closing = stream.next_of("eventcast.closing", WAIT).await?;
    ensure!(closing.data.contains("unavailable"), "{}", closing.data);
    nats.restart().await?;
    eventually("the ticket is good again", WAIT * 2, || async {
        let answer = client(Version::Http1).get(&url).send().await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        Ok(())
    })
    .await
}

/// 33: no credential is in any log line, metric or answer, at any level.
#[tokio::test]
async fn g33_no_credential_is_shown() -> Result<()> {
    init_tracing();
    let (nats, issuer) = (NatsServer::start().await?, Issuer::new()?);
    let access = closed(&issuer);
    let broker = Broker::start_with_log(&nats.url(), "trace", |config| {
        config.channels[0].access = access;
    })
    .await?;
    let ann = issuer.user("ann");
    let taken = ticket(&broker, &ann, json!({})).await?;
    let (text, renew) =
        (taken["ticket"].as_str().unwrap_or_default(), taken["renew"].as_str().unwrap_or_default());
    let query = format!("ticket={text}");
    let bad = [ann.replace('.', "x"), issuer.token("ann", -100, json!({})), format!("{text}x")];
    let mut answers = String::new();
    for version in [Version::Http1, Version::Http2] {
        let http = client(version);
        for token in bad.iter().chain([&ann]) {
            answers += &http
                .get(broker.url("/channels/default/demo/stats"))
                .bearer_auth(token)
                .send()
                .await?
                .text()
                .await?;
            let url = broker.url(&format!("/channels/default/demo/stats?ticket={token}"));
            answers += &http.get(url).send().await?.text().await?;
            let url = broker.url("/channels/default/demo/stats?credentials=cookie");
            let cookie = format!("__Host-eventcast={token}");
            answers += &http.get(url).header("Cookie", cookie).send().await?.text().await?;
        }
        EventStream::open(Subscribe {
            url: broker.events_url(&query),
            version,
            ..Subscribe::default()
        })
        .await?;
        request("POST", &broker.url(renew), &ann, None).await?;
        let history = http.get(broker.events_url(&format!("{query}&limit=1")));
        let history = history.header("Accept", "application/json").send().await?;
        answers += &format!("{:?}", history.headers());
    }
    let metrics =
        client(Version::Http1).get(broker.admin_url("/metrics")).send().await?.text().await?;
    let state = client(Version::Http1).get(broker.admin_url("/state")).send().await?.text().await?;
    let shown =
        [("log", broker.log()), ("metrics", metrics), ("state", state), ("answers", answers)];
    let mut secrets: Vec<&str> =
        vec![&text[8..40], &text[text.len() - 40..], &renew[renew.len() - 40..]];
    secrets.extend(bad.iter().chain([&ann]).map(|token| &token[token.len() - 40..]));
    for (place, shown) in &shown {
        ensure!(place != &"log" || shown.len() > 10_000, "the log is at trace level");
        for secret in &secrets {
            ensure!(!shown.contains(secret), "{place} shows {secret}");
        }
    }
    Ok(())
}
