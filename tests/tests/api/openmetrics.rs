//! Metrics in OpenMetrics, read by the strict parser of the Python client of Prometheus.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_tests::{
    broker::Broker,
    collector::Collector,
    http::{Publish, Version, client},
    metrics::Metrics,
    nats::NatsServer,
    sse::EventStream,
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn exemplars_lead_from_a_latency_to_its_trace() -> Result<()> {
    let (nats, collector) = (NatsServer::start().await?, Collector::start().await?);
    let variables = vec![format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.url())];
    let broker = Broker::start_with_variables(&nats.url(), variables, |_| {}).await?;
    let mut stream = EventStream::connect(&broker.events_url(""), None).await?;
    let header = format!("00-{TRACE}-00f067aa0b4902b7-01");
    for publish in [Publish::new("plain"), Publish::new("x").header("traceparent", &header)] {
        let answer = publish.send(&client(Version::Http1), &broker.events_url("")).await?;
        ensure!(answer.status == 201, "{answer:?}");
        stream.next_data(WAIT_TIMEOUT).await?;
    }
    let delivered = |metrics: &Metrics| {
        let count =
            metrics.metric("eventcast_subscriber_events_total", &[("outcome", "delivered")]);
        ensure!(count == 2.0, "{count}");
        Ok(())
    };
    broker.settled("both events are delivered", WAIT_TIMEOUT, delivered).await?;
    super::run("python", &[], &["metrics.py", &broker.admin_url("/metrics"), TRACE], CHECK_TIMEOUT)
        .await
}
