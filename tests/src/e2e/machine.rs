//! The machine of the project's own test cluster, for what Kubernetes alone cannot do: a crash of a process, a second node.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use tokio::process::Command;

use super::run;

/// Names the folder of the scripts of the test cluster; `tests/cluster/e2e.sh` sets it if the cluster of `KUBECONFIG` is that one.
const VARIABLE: &str = "EVENTCAST_E2E_MACHINE";

/// The scripts of the test cluster.
#[derive(Clone, Debug)]
pub struct Machine {
    scripts: PathBuf,
}

impl Machine {
    /// That of the cluster of `KUBECONFIG`; `None` for a cluster of somebody else.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let scripts = PathBuf::from(std::env::var_os(VARIABLE).filter(|path| !path.is_empty())?);
        Some(Self { scripts })
    }

    /// Sends a signal to what runs in a pod.
    ///
    /// # Errors
    /// When nothing does.
    pub async fn signal(&self, signal: &str, namespace: &str, pod: &str) -> Result<()> {
        self.script("signal.sh", &[signal, namespace, pod]).await
    }

    /// Adds the second node, unless it is there.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn add_node(&self) -> Result<()> {
        self.script("second-node.sh", &["add"]).await
    }

    /// Removes the second node with its pods.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn remove_node(&self) -> Result<()> {
        self.script("second-node.sh", &["remove"]).await
    }

    /// Restarts kube-proxy.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart_proxy(&self) -> Result<()> {
        self.script("restart-proxy.sh", &[]).await
    }

    /// Has NetworkPolicies enforced.
    ///
    /// # Errors
    /// When nothing can do that.
    pub async fn enforce_policies(&self) -> Result<()> {
        self.script("network-policies.sh", &["on"]).await
    }

    /// Has NetworkPolicies enforced no longer.
    ///
    /// # Errors
    /// When the rules stay.
    pub async fn ignore_policies(&self) -> Result<()> {
        self.script("network-policies.sh", &["off"]).await
    }

    /// Whether a pod can connect to an address.
    pub async fn connects(&self, namespace: &str, pod: &str, to: SocketAddr) -> bool {
        let (address, port) = (to.ip().to_string(), to.port().to_string());
        self.script("connect.sh", &[namespace, pod, &address, &port]).await.is_ok()
    }

    /// Brings the images of nginx, HAProxy and Envoy into the cluster.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn load_proxies(&self) -> Result<()> {
        self.script("proxies.sh", &[]).await
    }

    async fn script(&self, name: &str, arguments: &[&str]) -> Result<()> {
        run(Command::new(self.scripts.join(name)).args(arguments), None).await?;
        Ok(())
    }
}
