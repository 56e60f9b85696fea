//! A Prometheus outside of the cluster that scrapes what the PodMonitors of the cluster say, as the Prometheus operator would configure it. Debian's has no
//! discovery of Kubernetes, so it finds the pods that there are at its start in a file, with the same labels.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::Cluster;
use crate::{
    eventually,
    http::{Version, client},
    kube::program,
    ports,
    process::{self, Process},
    repository,
};

/// Time until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    url: String,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one for all PodMonitors of the cluster, with the alerts and the recording rules of the chart.
    ///
    /// # Errors
    /// When there is no PodMonitor, or it does not start.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let folder = process::folder("eventcast-prometheus-")?;
        let list = cluster.kubectl(&["get", "podmonitors", "-A", "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&list)?;
        let monitors = list["items"].as_array().context("no list of PodMonitors")?;
        ensure!(!monitors.is_empty(), "there is no PodMonitor");
        let pods = cluster.kubectl(&["get", "pods", "-A", "-o", "json"]).await?;
        let targets = targets(&serde_json::from_str(&pods)?);
        let discovered = folder.path().join("pods.json");
        fs::write(&discovered, targets.to_string())?;
        let jobs: Result<Vec<_>> =
            monitors.iter().map(|monitor| scrape_config(monitor, &discovered)).collect();
        let rules = ["alerts.yaml", "slo/rules.yaml"]
            .map(|file| repository().join("charts/eventcast/files").join(file));
        let config = json!({
            "global": {"evaluation_interval": "5s"},
            "rule_files": rules,
            "scrape_configs": jobs?,
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config.to_string())?; // JSON is YAML
        let port = ports::reserve(1)?[0];
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let binary = program("prometheus");
        let process = Process::spawn("prometheus", &binary, &arguments, folder.path())?;
        let prometheus =
            Self { url: format!("http://127.0.0.1:{port}"), _process: process, _folder: folder };
        eventually("Prometheus is ready", START_TIMEOUT, || async {
            let answer = client(Version::Http1).get(format!("{}/-/ready", prometheus.url));
            let status = answer.send().await?.status();
            ensure!(status.is_success(), "{status}");
            anyhow::Ok(())
        })
        .await?;
        Ok(prometheus)
    }

    /// How many series a query has now.
    ///
    /// # Errors
    /// When Prometheus refuses the query.
    pub async fn series(&self, query: &str) -> Result<usize> {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/api/v1/query", self.url),
            [("query", query)],
        )?;
        let answer: Value = client(Version::Http1).get(url).send().await?.json().await?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        Ok(answer["data"]["result"].as_array().context("no result")?.len())
    }

    /// What it does not scrape well: the address and the last error of each target.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn failed_targets(&self) -> Result<Vec<String>> {
        let url = format!("{}/api/v1/targets?state=active", self.url);
        let answer: Value = client(Version::Http1).get(url).send().await?.json().await?;
        let targets = answer["data"]["activeTargets"].as_array().context("no targets")?;
        ensure!(!targets.is_empty(), "it has no target");
        let failed = targets.iter().filter(|target| target["health"] != "up");
        Ok(failed
            .map(|t| format!("{}: {} {}", t["scrapeUrl"], t["health"], t["lastError"]))
            .collect())
    }
}

/// The ports of all pods, with the labels that the discovery of Kubernetes gives them.
fn targets(pods: &Value) -> Value {
    let mut targets = Vec::new();
    for pod in pods["items"].as_array().into_iter().flatten() {
        let (metadata, address) = (&pod["metadata"], &pod["status"]["podIP"]);
        let mut labels = Map::from_iter([
            ("__meta_kubernetes_namespace".to_owned(), metadata["namespace"].clone()),
            ("__meta_kubernetes_pod_name".to_owned(), metadata["name"].clone()),
        ]);
        for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
            labels.insert(label(key), value.clone());
        }
        for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
            let ports = container["ports"].as_array().into_iter().flatten();
            for port in ports.filter(|port| port["name"].is_string()) {
                let mut labels = labels.clone();
                labels.insert(
                    "__meta_kubernetes_pod_container_name".into(),
                    container["name"].clone(),
                );
                labels.insert(
                    "__meta_kubernetes_pod_container_port_name".into(),
                    port["name"].clone(),
                );
                let target =
                    format!("{}:{}", address.as_str().unwrap_or_default(), port["containerPort"]);
                targets.push(json!({"targets": [target], "labels": labels}));
            }
        }
    }
    Value::Array(targets)
}

/// The name that the discovery of Kubernetes gives to a label of a pod.
fn label(key: &str) -> String {
    let key = key.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("__meta_kubernetes_pod_label_{key}")
}

/// The scrape configuration of a PodMonitor with one endpoint and a selector by labels.
fn scrape_config(monitor: &Value, discovered: &Path) -> Result<Value> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
    let (namespace, name) =
        (text(&monitor["metadata"]["namespace"])?, text(&monitor["metadata"]["name"])?);
    let spec = &monitor["spec"];
    let endpoint = &spec["podMetricsEndpoints"][0];
    let labels = spec["selector"]["matchLabels"].as_object().context("no matchLabels")?;
    let keep = |source: String, value: &Value| json!({"source_labels": [source], "regex": value, "action": "keep"});
    let mut relabel: Vec<_> = labels.iter().map(|(key, value)| keep(label(key), value)).collect();
    relabel.push(keep("__meta_kubernetes_pod_container_port_name".into(), &endpoint["port"]));
    relabel.push(keep("__meta_kubernetes_namespace".into(), &json!(namespace)));
    for (source, target) in
        [("namespace", "namespace"), ("pod_name", "pod"), ("pod_container_name", "container")]
    {
        let source = format!("__meta_kubernetes_{source}");
        relabel.push(json!({"source_labels": [source], "target_label": target}));
    }
    let job = format!("{namespace}/{name}");
    relabel.push(json!({"replacement": job, "target_label": "job"}));
    Ok(json!({
        "job_name": format!("podMonitor/{job}/0"),
        "honor_timestamps": true,
        "metrics_path": endpoint["path"],
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": "4s",
        "file_sd_configs": [{"files": [discovered]}],
        "relabel_configs": relabel,
    }))
}
