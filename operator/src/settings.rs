//! What the operator was told at its start, and what it found: the input of everything that is built, beside the channel itself.

use std::{collections::BTreeMap, path::PathBuf};

use eventcast_crds::config::Nats;
use ipnet::IpNet;
use k8s_openapi::ByteString;

use crate::kind::Kind;

/// What holds for all channels of this operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the brokers.
    pub broker_image: String,
    /// `IfNotPresent`, `Always` or `Never`.
    pub pull_policy: String,
    /// Secrets with which the image is pulled; they must be in the namespaces of the channels.
    pub pull_secrets: Vec<String>,
    /// How to reach NATS, with the files of the operator's own pod.
    pub nats: Nats,
    /// Name of this Kubernetes cluster, as streams are marked with it.
    pub cluster: String,
    /// DNS domain of the cluster's services.
    pub cluster_domain: String,
    /// The proxies that channels trust who name none and are reached through an Ingress or an HTTPRoute alone.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether brokers get a NetworkPolicy.
    pub network_policies: bool,
    /// Whether brokers get a PodMonitor, where there is such a thing.
    pub pod_monitors: bool,
}

/// Where the credentials for NATS are in a broker's pod.
pub const NATS_FOLDER: &str = "/etc/eventcast/nats";
/// Where the configuration is in a broker's pod.
pub const CONFIG_FOLDER: &str = "/etc/eventcast/config";
/// Where the keys of token issuers are in a broker's pod.
pub const KEYS_FOLDER: &str = "/etc/eventcast/keys";

/// The optional APIs that this cluster serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apis {
    /// `gateway.networking.k8s.io/v1` HTTPRoute.
    pub routes: bool,
    /// `monitoring.coreos.com/v1` PodMonitor.
    pub pod_monitors: bool,
}

impl Apis {
    /// Whether objects of `kind` can be had here.
    #[must_use]
    pub const fn serve(self, kind: Kind) -> bool {
        match kind {
            Kind::Route => self.routes,
            Kind::PodMonitor => self.pod_monitors,
            _ => true,
        }
    }
}

/// The credentials for NATS, as a Secret holds them.
pub type Credentials = BTreeMap<String, ByteString>;

impl Settings {
    /// Enough for looking whether NATS and the rights are there; nothing can be built with it.
    #[must_use]
    pub fn of_nats(nats: Nats) -> Self {
        Self {
            broker_image: String::new(),
            pull_policy: String::new(),
            pull_secrets: Vec::new(),
            nats,
            cluster: String::new(),
            cluster_domain: String::new(),
            trusted_proxies: Vec::new(),
            network_policies: false,
            pod_monitors: false,
        }
    }

    /// Whether NATS asks for credentials or has a certificate of its own: only then is there a Secret.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        !self.nats.secret_files().is_empty()
    }

    /// Reads the files with the credentials.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub async fn credentials(&self) -> Result<Credentials, (PathBuf, std::io::Error)> {
        let mut credentials = Credentials::new();
        for (key, path) in self.nats.secret_files() {
            let bytes = tokio::fs::read(&path).await.map_err(|error| (path, error))?;
            credentials.insert(key.to_owned(), ByteString(bytes));
        }
        Ok(credentials)
    }
}
