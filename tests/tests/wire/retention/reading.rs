//! Publishes to the channels of this suite, and reads them in every way.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    http::{Answer, Publish, Version, client},
    sse::{EventStream, Subscribe},
};
use serde_json::{Value, json};

pub(super) const WAIT_TIMEOUT: Duration = Duration::from_secs(15);

pub(super) fn url(broker: &Broker, way: &str, rest: &str) -> String {
    broker.url(&format!("/channels/default/{way}/{rest}"))
}

/// Publishes `from..to`; each has a topic of three and says its number. Gives their cursors.
pub(super) async fn publish(
    broker: &Broker,
    way: &str,
    from: usize,
    to: usize,
) -> Result<Vec<String>> {
    let line = |n| {
        let data = if way == "bytes" { format!("{n} {}", "x".repeat(50)) } else { format!("{n}") };
        let mut line = json!({"data": data, "topic": format!("user.{}", n % 3), "source": "/s"});
        if way == "lifetime" && n % 2 == 0 {
            line["ttl"] = 4.into();
        }
        format!("{line}\n")
    };
    let body: String = (from..to).map(line).collect();
    let publish = Publish::new(body).header("Content-Type", "application/x-ndjson");
    let answer = publish.send(&client(Version::Http1), &url(broker, way, "events")).await?;
    ensure!(answer.status == 201, "{}", answer.json);
    let events = answer.json["events"].as_array().context("no events")?;
    events.iter().map(|e| Ok(e["cursor"].as_str().context("no cursor")?.to_owned())).collect()
}

pub(super) fn number(data: &str) -> String {
    data.split(' ').next().unwrap_or_default().to_owned()
}

pub(super) async fn get(url: String) -> Result<Value> {
    let request = client(Version::Http1).get(url).header("Accept", "application/json");
    let answer = Answer::read(request.send().await?).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.json);
    Ok(answer.json)
}

/// Everything that history gives, page by page.
pub(super) async fn history(broker: &Broker, way: &str, query: &str) -> Result<Vec<String>> {
    let (mut all, mut from) = (Vec::new(), "earliest".to_owned());
    loop {
        let page = get(url(broker, way, &format!("events?limit=100&from={from}{query}"))).await?;
        for event in page["events"].as_array().context("no events")? {
            all.push(number(event["data"].as_str().context("no data")?));
        }
        match page["next"].as_str() {
            Some(next) => from = next.to_owned(),
            None => return Ok(all),
        }
    }
}

/// Everything that a subscriber receives up to the event with the data `last`, and the declared gap.
pub(super) async fn stream(
    url: &str,
    cursor: Option<&str>,
    version: Version,
    last: &str,
) -> Result<(Vec<String>, Option<Value>)> {
    let last_event_id = cursor.map(str::to_owned);
    let request = Subscribe { url: url.to_owned(), last_event_id, version, ..Subscribe::default() };
    let mut stream = EventStream::open(request).await?;
    let (mut seen, mut gap) = (Vec::new(), None);
    while seen.last().is_none_or(|seen| seen != last) {
        let event =
            stream.next_within(WAIT_TIMEOUT).await.with_context(|| format!("after {seen:?}"))?;
        match event.event_type.as_str() {
            "eventcast.gap" => gap = Some(serde_json::from_str(&event.data)?),
            _ if event.is_control() => {}
            _ => seen.push(number(&event.data)),
        }
    }
    Ok((seen, gap))
}
