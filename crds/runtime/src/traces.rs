//! Traces: spans on their way to an OpenTelemetry collector, as OTLP over HTTP. Off unless an endpoint is set.
//!
//! Programs make spans with the OpenTelemetry API where [`tracer`] returns a tracer. Finished spans wait in a bounded queue. The thread of
//! the batch processor exports them; when the queue is full, spans are dropped.

mod client;
pub mod names;
mod settings;

use std::{env, sync::OnceLock, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider},
};

use client::Client;
use settings::Settings;

/// How long the last spans may take to be exported when the program ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

static TRACES: OnceLock<Traces> = OnceLock::new();

/// Makes spans; `None` while traces are off.
#[must_use]
pub fn tracer() -> Option<&'static SdkTracer> {
    TRACES.get().map(|traces| &traces.tracer)
}

/// Where a program wants its spans to go. The `OTEL_*` variables of the environment win.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    /// `service.name`.
    pub service: &'static str,
    /// `service.version`.
    pub version: &'static str,
    /// The URL of the collector, without `/v1/traces`.
    pub endpoint: Option<&'a str>,
    /// The share of the traces that begin here and are recorded, from 0 to 1.
    pub sample_ratio: Option<f64>,
}

/// Starts the export of spans, if there is an endpoint. Only in a runtime of tokio. What is wrong with the settings is logged, and traces
/// stay off.
pub fn start(wanted: &Wanted<'_>) {
    let (settings, problems) = Settings::of(wanted, |name| env::var(name).ok());
    for problem in problems {
        tracing::warn!(detail = problem, "ignoring a setting of traces");
    }
    let Some(settings) = settings else { return };
    match build(wanted, &settings) {
        Ok(traces) => {
            tracing::info!(url = %settings.endpoint, "exporting traces");
            // Started once in a process: the first settings stay.
            drop(TRACES.set(traces));
        }
        Err(error) => tracing::error!(error, "cannot export traces"),
    }
}

fn build(wanted: &Wanted<'_>, settings: &Settings) -> Result<Traces, String> {
    let client = Client::new(&settings.endpoint, settings.ca_file.as_deref(), settings.timeout)?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(settings.endpoint.to_string())
        .with_timeout(settings.timeout)
        .with_retry_policy(RetryPolicy::recommended())
        .build()
        .map_err(|error| error.to_string())?;
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).build())
        .with_sampler(settings.sampler.clone())
        .with_resource(resource(wanted))
        .build();
    let tracer = provider.tracer(wanted.service);
    Ok(Traces { provider, tracer })
}

/// What this process is. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win.
fn resource(wanted: &Wanted<'_>) -> Resource {
    let mut attributes = vec![
        KeyValue::new(names::SERVICE_NAME, wanted.service),
        KeyValue::new(names::SERVICE_VERSION, wanted.version),
    ];
    // In Kubernetes, the name of the pod.
    if let Ok(host) = env::var("HOSTNAME") {
        attributes.push(KeyValue::new(names::SERVICE_INSTANCE_ID, host));
    }
    let resource = Resource::builder_empty()
        .with_attributes(attributes)
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()) {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// Exports the last spans, for at most two seconds.
pub async fn flush() {
    let Some(traces) = TRACES.get() else { return };
    let provider = traces.provider.clone();
    let flushed =
        tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT));
    if let Ok(Err(error)) = flushed.await {
        tracing::debug!(%error, "the last spans were not exported");
    }
}
