//! A real OpenTelemetry Collector that receives OTLP over HTTP, and the spans that it has received.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    eventually, ports,
    process::{self, Process, find_on_path},
    tls::{self, KeyFiles},
};

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a span takes to arrive at most.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(15);

/// A collector, running or not.
#[derive(Debug)]
pub struct Collector {
    folder: TempDir,
    port: u16,
    /// Its certificate, if it has TLS.
    keys: Option<KeyFiles>,
    process: Option<Process>,
}

/// A span as the collector has received it.
#[derive(Clone, Debug)]
pub struct Span {
    /// `service.name` of its process.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Id of its trace, in hexadecimal.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// Id of its parent; empty for a root.
    pub parent: String,
    /// 1: internal, 2: server, 3: client, 4: producer, 5: consumer.
    pub kind: u64,
    /// Its attributes.
    pub attributes: Map<String, Value>,
    /// The traces and spans that it links to.
    pub links: Vec<(String, String)>,
    /// Its `tracestate`.
    pub state: String,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// Nanoseconds that it lasted.
    pub nanos: u64,
    /// Whether its status is an error.
    pub failed: bool,
}

fn program() -> Result<PathBuf> {
    let named = std::env::var_os("EVENTCAST_OTELCOL").map(PathBuf::from);
    named
        .or_else(|| find_on_path("otelcol"))
        .context("no otelcol: run tests/tools/install.sh otelcol")
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// When it is not installed, or does not listen in time.
    pub async fn start() -> Result<Self> {
        let mut collector = Self::absent()?;
        collector.run().await?;
        Ok(collector)
    }

    /// Starts one with TLS.
    ///
    /// # Errors
    /// When it is not installed, or does not listen in time.
    pub async fn start_with_tls() -> Result<Self> {
        let mut collector = Self::absent()?;
        collector.keys = Some(KeyFiles::new()?);
        fs::write(collector.authorities(), tls::authority_pem())?;
        collector.run().await?;
        Ok(collector)
    }

    /// One that is not started yet.
    ///
    /// # Errors
    /// When there is no port.
    pub fn absent() -> Result<Self> {
        let folder = process::folder("eventcast-otelcol-")?;
        Ok(Self { folder, port: ports::reserve(1)?[0], keys: None, process: None })
    }

    /// Starts it, again with what it had received.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub async fn run(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let tls = self.keys.as_ref().map(KeyFiles::config).map_or_else(String::new, |tls| {
            let (certificate, key) = (tls.certificate_file.display(), tls.key_file.display());
            format!("        tls: {{cert_file: {certificate}, key_file: {key}}}\n")
        });
        let config = format!(
            "receivers:\n  otlp:\n    protocols:\n      http:\n        endpoint: 127.0.0.1:{}\n{tls}\
             exporters:\n  file:\n    path: {}\n    append: true\n    flush_interval: 50ms\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [file]}}\n",
            self.port,
            self.file().display(),
        );
        let config_file = folder.join("config.yaml");
        fs::write(&config_file, config)?;
        let argument = format!("--config=file:{}", config_file.display());
        let process = Process::spawn("otelcol", &program()?, &[argument], folder)?;
        self.process = Some(process);
        let port = self.port;
        eventually("the collector listens", START_TIMEOUT, || async move {
            TcpStream::connect(("127.0.0.1", port)).await.map(drop)
        })
        .await
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill9()?;
        }
        Ok(())
    }

    /// Its URL, without the path of a signal.
    #[must_use]
    pub fn url(&self) -> String {
        match self.keys {
            Some(_) => format!("https://localhost:{}", self.port),
            None => format!("http://127.0.0.1:{}", self.port),
        }
    }

    /// The file with the authorities of its certificate.
    #[must_use]
    pub fn authorities(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("spans.json")
    }

    /// All spans that it has received.
    ///
    /// # Errors
    /// When its file is not what it writes.
    pub fn spans(&self) -> Result<Vec<Span>> {
        read(&self.file())
    }

    /// Waits for a span that `wanted` accepts.
    ///
    /// # Errors
    /// When none arrives.
    pub async fn span(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Result<Span> {
        eventually(what, ARRIVAL_TIMEOUT, || async {
            let spans = self.spans()?;
            let found = spans.iter().find(|span| wanted(span)).cloned();
            found.with_context(|| format!("not among {spans:#?}"))
        })
        .await
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    resource: Attributes,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    spans: Vec<RawSpan>,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    key: String,
    /// The kind of the value, and the value: `{"intValue": "7"}`.
    value: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpan {
    name: String,
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    #[serde(default)]
    trace_state: String,
    #[serde(default)]
    kind: u64,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    #[serde(flatten)]
    attributes: Attributes,
    #[serde(default)]
    links: Vec<Link>,
    #[serde(default)]
    status: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    trace_id: String,
    span_id: String,
}

/// Integers are strings in this format.
fn values(attributes: Attributes) -> Map<String, Value> {
    let value = |Attribute { key, mut value }| {
        let (kind, value) = value.pop_first().unwrap_or_default();
        let number = value.as_str().filter(|_| kind == "intValue");
        let number = number.and_then(|text| text.parse::<i64>().ok()).map(Value::from);
        (key, number.unwrap_or(value))
    };
    attributes.attributes.into_iter().map(value).collect()
}

fn read(file: &Path) -> Result<Vec<Span>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut spans = Vec::new();
    // The last line may not be complete yet.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let request: Request = serde_json::from_str(line).context(line.to_owned())?;
        for of_resource in request.resource_spans {
            let resource = values(of_resource.resource);
            let service = resource["service.name"].as_str().context("no service.name")?.to_owned();
            for raw in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let began: u64 = raw.start_time_unix_nano.parse()?;
                let end: u64 = raw.end_time_unix_nano.parse()?;
                spans.push(Span {
                    service: service.clone(),
                    name: raw.name,
                    trace: raw.trace_id,
                    id: raw.span_id,
                    parent: raw.parent_span_id,
                    kind: raw.kind,
                    attributes: values(raw.attributes),
                    links: raw
                        .links
                        .into_iter()
                        .map(|link| (link.trace_id, link.span_id))
                        .collect(),
                    state: raw.trace_state,
                    began,
                    nanos: end.saturating_sub(began),
                    failed: raw.status.get("code") == Some(&Value::from(2)),
                });
            }
        }
    }
    Ok(spans)
}
