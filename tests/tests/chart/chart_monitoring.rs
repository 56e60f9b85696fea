//! Alerts fire when they should, each has a runbook, and every metric that alerts, dashboards and runbooks query exists.

use std::{collections::BTreeSet, process::Command, time::Duration};

use anyhow::{Result, ensure};
use eventcast_crds::config::{Probe, TokenIssuer};
use eventcast_tests::{
    broker::Broker,
    chart::{self, find, monitoring, promql::Known, slo},
    http::{Publish, Version, client, publish},
    init_tracing,
    kube::program,
    nats::NatsServer,
    sse::EventStream,
};
use serde::Deserialize;
use serde_json::{Value, json};

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn promtool(arguments: &[&str]) -> Result<String> {
    chart::run(
        Command::new(program("promtool"))
            .current_dir(eventcast_tests::repository())
            .args(arguments),
    )
}

#[test]
fn alerts_fire_where_they_should() -> Result<()> {
    promtool(&["check", "rules", "charts/eventcast/files/alerts.yaml"])?;
    promtool(&["test", "rules", "tests/chart/alerts_test.yaml"])?;
    Ok(())
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alertname: String,
    exp_alerts: Vec<Value>,
}

#[test]
fn every_alert_is_tested_firing_and_quiet() -> Result<()> {
    let tests: Tests = serde_saphyr::from_str(&chart::read("tests/chart/alerts_test.yaml")?)?;
    let cases: Vec<Case> = tests.tests.into_iter().flat_map(|test| test.alert_rule_test).collect();
    for rule in monitoring::rules()? {
        for fires in [true, false] {
            let fits =
                |case: &Case| case.alertname == rule.alert && case.exp_alerts.is_empty() != fires;
            assert!(cases.iter().any(fits), "{}: no case with firing={fires}", rule.alert);
        }
    }
    Ok(())
}

#[test]
fn every_alert_says_what_it_means_and_where_to_read_on() -> Result<()> {
    let index = chart::read("docs/runbooks/README.md")?;
    let mut names = BTreeSet::new();
    for rule in monitoring::rules()? {
        let name = &rule.alert;
        assert!(["critical", "warning"].contains(&rule.labels["severity"].as_str()), "{name}");
        for text in ["summary", "description"] {
            assert!(rule.annotations[text].len() > 10, "{name}: {text}");
        }
        let url = format!("/docs/runbooks/{name}.md");
        assert!(rule.annotations["runbook_url"].ends_with(&url), "{name}");
        let runbook = chart::read(&url[1..])?;
        assert!(runbook.starts_with(&format!("# {name}\n")), "{name}: title");
        for part in ["## Meaning\n", "## Impact\n", "## Diagnosis\n", "## Mitigation\n"] {
            assert!(runbook.contains(part), "{name}: no {part}");
        }
        let row = format!("| [{name}]({name}.md) | {} |", rule.labels["severity"]);
        assert!(index.contains(&row), "docs/runbooks/README.md: {row}");
        assert!(names.insert(rule.alert), "an alert comes twice");
    }
    for file in chart::files("docs/runbooks", ".md")? {
        let name = chart::stem(&file);
        assert!(name == "README" || names.contains(&name), "a runbook without alert: {name}");
    }
    Ok(())
}

#[test]
fn the_rule_object_is_the_file_with_another_place_for_runbooks() -> Result<()> {
    let options = "alerts.enabled=true,alerts.runbookBaseUrl=https://wiki.example.com/r/,\
        alerts.disabled={EventcastEventsExpired}";
    let manifests = chart::render(&["--set", options])?;
    let rule = find(&manifests, "PrometheusRule/eventcast")?;
    let groups: Vec<monitoring::Group> = serde_json::from_value(rule["spec"]["groups"].clone())?;
    let rendered: Vec<_> = groups.into_iter().flat_map(|group| group.rules).collect();
    let kept =
        monitoring::rules()?.into_iter().filter(|rule| rule.alert != "EventcastEventsExpired");
    let kept: Vec<_> = kept.collect();
    assert_eq!(rendered.len(), kept.len());
    for (have, want) in rendered.iter().zip(&kept) {
        assert_eq!((&have.alert, &have.expr, &have.lasts), (&want.alert, &want.expr, &want.lasts));
        assert_eq!(have.annotations["description"], want.annotations["description"]);
        let url = format!("https://wiki.example.com/r/{}.md", have.alert);
        assert_eq!(have.annotations["runbook_url"], url);
    }
    Ok(())
}

/// What a broker serves that has been through everything that is counted.
async fn exercised(enough: impl Fn(&Known) -> Result<()>) -> Result<Known> {
    let nats = NatsServer::start_with("1s").await?;
    let mut broker = Broker::start(&nats.url(), |config| {
        config.memory.tail_events = 16;
        config.channels[0].retention.max_events = 60;
        config.channels[0].delivery.max_subscribers = 1;
        config.channels[0].delivery.heartbeat_seconds = 1;
        let url = format!("http://{}/channels/default/demo/events", config.listen);
        config.channels[0].probe = Some(Probe { stream_seconds: 1, ..Probe::new(&url) });
        // keys that are not there
        config.channels[0].access.tokens = vec![TokenIssuer {
            issuer: "https://login.example".into(),
            audience: "demo".into(),
            key_file: Some("absent.jwks".into()),
            ..TokenIssuer::default()
        }];
    })
    .await?;
    let url = broker.events_url("");
    let first = publish(&url, "first", &[]).await?;
    // no event: a broadcast that is not UTF-8
    let straight = nats.client().await?;
    straight.publish("sse.default.demo.all", vec![0xff, 0xfe].into()).await?;
    straight.flush().await?;
    let lines: String = (0..100).map(|i| format!("{}\n", json!({"data": i}))).collect();
    let batch = Publish::new(lines).header("Content-Type", "application/x-ndjson");
    batch.send(&client(Version::Http1), &url).await?;
    publish(&url, "end", &[]).await?;
    // a cursor that has expired, pages, the tail
    let mut stream = EventStream::connect(&url, first.cursor()).await?;
    stream.next_of("eventcast.gap", WAIT_TIMEOUT).await?;
    while stream.next_data(WAIT_TIMEOUT).await?.data != "end" {}
    // one too many
    EventStream::connect(&url, None).await?.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    drop(stream.cut());
    nats.remade("SSE_default_demo", WAIT_TIMEOUT).await?;
    broker.reconfigure(|config| config.query.concurrent = 3)?;
    let known = broker
        .settled("everything is counted", WAIT_TIMEOUT, |scrape| enough(&Known::of(scrape)))
        .await?;
    Ok(Known::of(&known))
}

/// All metrics that a text uses and that do not exist.
fn unserved(known: &Known, texts: &[(String, String)]) -> Vec<String> {
    let mut all = Vec::new();
    for (place, text) in texts {
        all.extend(known.unserved(text).into_iter().map(|what| format!("{place}: {what}")));
    }
    all
}

#[tokio::test]
async fn whatever_alerts_dashboards_and_runbooks_ask_for_is_served() -> Result<()> {
    init_tracing();
    let operator = monitoring::operator().with(monitoring::pools());
    let texts = monitoring::texts()?;
    assert!(texts.len() > 80, "{}", texts.len());
    let known = exercised(|known| {
        let all = known.clone().with(operator.clone()).with(slo::recorded());
        let missing = unserved(&all, &texts);
        ensure!(missing.is_empty(), "nobody serves {missing:#?}");
        Ok(())
    })
    .await?;
    // and the reverse: every metric of the operator is used by an alert, a dashboard or a runbook
    let all: String = texts.iter().map(|(_, text)| text.as_str()).collect();
    for name in operator
        .0
        .keys()
        .filter(|name| name.starts_with("eventcast_"))
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"))
    {
        assert!(all.contains(name.as_str()), "no alert or dashboard has {name}");
    }
    let wrong = known.unserved("sum by (chanel) (eventcast_subscribers{topic=\"x\"})");
    assert_eq!(wrong.len(), 2, "the judge sleeps: {wrong:?}");
    Ok(())
}
