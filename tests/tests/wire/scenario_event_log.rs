//! Scenario: a persistent event log with queries and statistics. Published events survive restarts of everything. They can be
//! queried by type, source, user and time, page by page in either order, and counted.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    http::{Version, client, created},
    init_tracing,
    nats::NatsServer,
};
use serde_json::Value;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

async fn get(url: &str) -> Result<Value> {
    let answer =
        client(Version::Http1).get(url).header("Accept", "application/json").send().await?;
    let (status, body) = (answer.status(), answer.text().await?);
    ensure!(status == 200, "{url}: {status} {body}");
    Ok(serde_json::from_str(&body)?)
}

fn data(page: &Value) -> Vec<&str> {
    page["events"].as_array().into_iter().flatten().filter_map(|e| e["data"].as_str()).collect()
}

/// 30 events: numbered, of three types, from two sources, every third for a user, two for everyone.
async fn fill(url: &str) -> Result<()> {
    for n in 0..30 {
        let kind = ["order.paid", "order.sent", "note"][n % 3];
        let source = ["/shop", "/crm"][n % 2];
        let mut parameters = vec![("type", kind), ("source", source)];
        let user = format!("user.{}", n % 5);
        if n % 3 == 0 {
            parameters.push(("topic", &user));
        }
        created(url, &n.to_string(), &parameters).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_past_is_asked_for_by_type_source_user_and_time() -> Result<()> {
    init_tracing();
    let mut nats = NatsServer::start().await?;
    // A tail of 16: most of what is asked for is read from the log.
    let mut broker = Broker::start(&nats.url(), |c| c.memory.tail_events = 16).await?;
    fill(&broker.events_url("")).await?;
    for restarted in [false, true] {
        if restarted {
            broker.kill9()?;
            nats.kill9()?;
            nats.restart().await?;
            broker.restart().await?;
        }
        let ask = async |query: &str| get(&broker.events_url(query)).await;
        let all = ask("limit=1000").await?;
        assert_eq!(data(&all), (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(all["complete"], true);
        assert_eq!(data(&ask("type=note&limit=3").await?), ["2", "5", "8"]);
        assert_eq!(
            data(&ask("type=order.*&source=/crm&order=desc&limit=3").await?),
            ["27", "25", "21"]
        );
        assert_eq!(data(&ask("topic=user.3&broadcast=false").await?), ["3", "18"]);
        let with_broadcast = ask("topic=user.3&source=/shop").await?;
        assert_eq!(
            data(&with_broadcast),
            ["2", "4", "8", "10", "14", "16", "18", "20", "22", "26", "28"]
        );
        let (tenth, twentieth) = (&all["events"][10], &all["events"][20]);
        let time = |e: &Value| e["time"].as_str().unwrap_or_default().to_owned();
        let between = ask(&format!("from={}&until={}", time(tenth), time(twentieth))).await?;
        assert_eq!(data(&between), (10..20).map(|n| n.to_string()).collect::<Vec<_>>());
        let cursor = |e: &Value| e["cursor"].as_str().unwrap_or_default().to_owned();
        let between = ask(&format!("from={}&until={}", cursor(tenth), cursor(twentieth))).await?;
        assert_eq!(data(&between), (11..20).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(data(&ask("from=last:4").await?), ["26", "27", "28", "29"]);
        assert_eq!(data(&ask("from=-1h&until=-1m").await?), Vec::<&str>::new());
    }
    Ok(())
}

#[tokio::test]
async fn pages_of_either_order_add_up_to_everything() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |c| c.memory.tail_events = 16).await?;
    fill(&broker.events_url("")).await?;
    for order in ["asc", "desc"] {
        let mut url = broker.events_url(&format!("limit=7&order={order}&type=order.>"));
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let answer = client(Version::Http1)
                .get(&url)
                .header("Accept", "application/json")
                .send()
                .await?;
            let link =
                answer.headers().get("link").map(|l| l.to_str().map(str::to_owned)).transpose()?;
            let page: Value = answer.json().await?;
            seen.extend(
                data(&page).into_iter().map(|d| d.parse::<u32>()).collect::<Result<Vec<_>, _>>()?,
            );
            pages += 1;
            let Some(link) = link else { break };
            let path = link.split(['<', '>']).nth(1).context("a link has a target")?;
            url = broker.url(path);
        }
        if order == "desc" {
            seen.reverse();
        }
        assert_eq!(seen, (0..30).filter(|n| n % 3 != 2).collect::<Vec<_>>());
        assert!(pages >= 3, "{pages}");
    }
    Ok(())
}

#[tokio::test]
async fn statistics_count_by_type_topic_source_and_time() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |c| c.query.scan_events = 256).await?;
    fill(&broker.events_url("")).await?;
    let stats = get(&broker.url("/channels/default/demo/stats?bucket=1d")).await?;
    assert_eq!(stats["events"], 30);
    assert_eq!(stats["types"], serde_json::json!({"note": 10, "order.paid": 10, "order.sent": 10}));
    assert_eq!(stats["sources"], serde_json::json!({"/crm": 15, "/shop": 15}));
    assert_eq!(stats["topics"][""], 20);
    assert_eq!(stats["topics"]["user.3"], 2);
    assert_eq!(stats["bytes"], 10 + 20 * 2);
    let counted: u64 = stats["buckets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|b| b["events"].as_u64())
        .sum();
    assert_eq!(counted, 30);
    let user =
        get(&broker.url("/channels/default/demo/stats?topic=user.3&broadcast=false")).await?;
    assert_eq!(user["events"], 2);
    Ok(())
}

#[tokio::test]
async fn counting_more_than_one_request_may_scan_goes_on_where_it_ended() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |c| c.query.scan_events = 256).await?;
    let lines: String =
        (0..900).map(|n| format!("{{\"data\":{n},\"type\":\"t{}\"}}\n", n % 4)).collect();
    let answer = client(Version::Http1)
        .post(broker.events_url(""))
        .header("Content-Type", "application/x-ndjson")
        .body(lines)
        .timeout(WAIT_TIMEOUT)
        .send()
        .await?;
    assert_eq!(answer.status(), 201);
    let (mut types, mut from, mut requests) =
        (BTreeMap::<String, u64>::new(), "earliest".to_owned(), 0);
    loop {
        let stats = get(&broker.url(&format!("/channels/default/demo/stats?from={from}"))).await?;
        requests += 1;
        for (name, count) in stats["types"].as_object().into_iter().flatten() {
            *types.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        match stats["next"].as_str() {
            Some(next) => from = next.to_owned(),
            None => break,
        }
    }
    assert!(types.values().all(|n| *n == 225) && types.len() == 4, "{types:?}");
    assert_eq!(requests, 4, "900 events, 256 a request");
    Ok(())
}

#[tokio::test]
async fn a_range_that_retention_cut_says_so() -> Result<()> {
    init_tracing();
    let nats = NatsServer::start().await?;
    let broker = Broker::start(&nats.url(), |c| {
        c.memory.tail_events = 16;
        c.channels[0].retention.max_events = 50;
    })
    .await?;
    let url = broker.events_url("");
    let first = created(&url, "0", &[]).await?;
    for n in 1..120 {
        created(&url, &n.to_string(), &[]).await?;
    }
    let cursor = first.cursor().context("a cursor")?;
    let page = get(&broker.events_url(&format!("from={cursor}&limit=1000"))).await?;
    assert_eq!(data(&page).len(), 50);
    assert_eq!(page["gap"]["reason"], "expired");
    assert_eq!(page["gap"]["lost"], 69, "2..=70 of 120 are gone");
    let stats = get(&broker.url(&format!("/channels/default/demo/stats?from={cursor}"))).await?;
    assert_eq!(stats["gap"]["lost"], 69);
    assert_eq!(
        get(&broker.events_url("limit=1000")).await?["gap"],
        Value::Null,
        "who asks for what there is gets it"
    );
    Ok(())
}
