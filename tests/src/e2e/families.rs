//! The IP families of a cluster, of a channel's Service and of pods.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Channel, Cluster};

impl Cluster {
    /// Whether Services can have addresses of both families, by what the API server says about one that needs them.
    ///
    /// # Errors
    /// When it rejects that Service for another reason.
    pub async fn has_both_families(&self) -> Result<bool> {
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "families"},
            "spec": {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]},
        });
        match self.dry_run("default", &service.to_string()).await {
            Ok(()) => Ok(true),
            Err(error) if error.to_string().contains("not configured for dual-stack") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All declared TCP ports of the pods of a namespace, at each address of these pods.
    ///
    /// # Errors
    /// When a pod has no address.
    pub async fn tcp_ports(&self, namespace: &str) -> Result<Vec<SocketAddr>> {
        let pods = self.get(namespace, "pods").await?;
        let mut found = Vec::new();
        for pod in pods["items"].as_array().context("no list of pods")? {
            let addresses = addresses(&pod["status"]["podIPs"], "/ip")?;
            let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
            for port in containers.flat_map(|one| one["ports"].as_array().into_iter().flatten()) {
                let number = port["containerPort"].as_u64().context("no number")?;
                let number = u16::try_from(number)?;
                found.extend(addresses.iter().map(|address| SocketAddr::new(*address, number)));
            }
        }
        Ok(found)
    }
}

impl Channel<'_> {
    /// The addresses of the Service, that of its main family first.
    ///
    /// # Errors
    /// When it has none.
    pub async fn service_addresses(&self) -> Result<Vec<IpAddr>> {
        addresses(&self.get("service/demo-broker").await?["spec"]["clusterIPs"], "")
    }
}

fn addresses(list: &Value, field: &str) -> Result<Vec<IpAddr>> {
    let list = list.as_array().with_context(|| format!("no addresses: {list}"))?;
    let text = |entry: &Value| entry.pointer(field).and_then(Value::as_str).map(str::parse);
    list.iter().map(|entry| Ok(text(entry).context("no address")??)).collect()
}
