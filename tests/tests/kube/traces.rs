//! The spans of the operator, as a real OpenTelemetry Collector receives them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use eventcast_crds::channel::EventChannel;
use eventcast_tests::{
    collector::{Collector, Span},
    init_tracing,
    namespace::TestNamespace,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

#[tokio::test]
async fn a_reconciliation_is_a_span_if_it_has_changed_something() -> Result<()> {
    init_tracing();
    let collector = Collector::start().await?;
    let mut ns = TestNamespace::start().await?;
    ns.operator.kill9()?;
    ns.operator.set_env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url());
    ns.operator.set_env("OTEL_BSP_SCHEDULE_DELAY", "50");
    ns.operator.relaunch()?;
    ns.apply("orders", json!({})).await?;
    ns.settled("orders").await?;
    ns.make_ready("orders").await?;
    ns.condition("orders", "Ready", "True", "Ready").await?;
    ns.settled("orders").await?;

    let channel = format!("{}/orders", ns.name);
    let is_reconciliation = |span: &Span| {
        span.name == "reconcile" && span.attributes["eventcast.channel"] == channel.as_str()
    };
    let first = collector
        .span("the first reconciliation", |span| {
            is_reconciliation(span) && span.attributes["eventcast.writes"].as_i64() > Some(5)
        })
        .await?;
    ensure!(first.service == "eventcast-operator" && first.parent.is_empty(), "{first:?}");
    for step in ["stream", "apply"] {
        let below = |span: &Span| span.name == step && span.parent == first.id;
        let step = collector.span(step, below).await?;
        ensure!(step.trace == first.trace && step.nanos <= first.nanos && !step.failed, "{step:?}");
        ensure!(step.attributes["eventcast.writes"].as_i64() > Some(0), "{step:?}");
    }
    let reconciles = "eventcast_operator_reconciles_total";
    let before = ns.operator.metric(reconciles, &[]).await?;
    let from = now()?;
    let annotate = Patch::Merge(json!({"metadata": {"annotations": {"example.com/note": "x"}}}));
    ns.api::<EventChannel>().patch("orders", &PatchParams::default(), &annotate).await?;
    ns.operator.reaches(reconciles, &[], before + 1.0).await?;
    let until = now()?;
    ns.apply("orders", json!({"delivery": {"heartbeatSeconds": 9}})).await?;
    let is_later =
        |span: &Span| is_reconciliation(span) && span.attributes["eventcast.generation"] == 2;
    collector.span("the reconciliation after a change", is_later).await?;
    for span in collector.spans()?.iter().filter(|span| is_reconciliation(span)) {
        let is_between = (from..until).contains(&span.began);
        ensure!(!is_between, "a reconciliation that changed nothing has no span: {span:?}");
        ensure!(!span.failed, "{span:?}");
    }
    Ok(())
}

/// Nanoseconds since 1970.
fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}
