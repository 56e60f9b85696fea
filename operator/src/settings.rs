//! The operator's settings: the input of every object besides the channel itself.

use std::{collections::BTreeMap, path::PathBuf};

use eventcast_crds::config::Nats;
use ipnet::IpNet;
use k8s_openapi::ByteString;

use crate::{broker_defaults::BrokerDefaults, kind::Kind, names::short_hash};

/// Settings that apply to all channels of this operator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Image of the brokers, unless a channel names its own.
    pub broker_image: String,
    /// `IfNotPresent`, `Always` or `Never`.
    pub pull_policy: String,
    /// Image pull secrets of the brokers. They must exist in the namespaces of the channels.
    pub pull_secrets: Vec<String>,
    /// How to reach NATS. The paths are those of the operator's own pod.
    pub nats: Nats,
    /// Name of this Kubernetes cluster in the metadata of streams.
    pub cluster: String,
    /// DNS domain of the cluster's services.
    pub cluster_domain: String,
    /// Trusted proxies of channels that set none and are exposed only through an Ingress or an HTTPRoute.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether to create a NetworkPolicy for each channel.
    pub network_policies: bool,
    /// Whether to create a PodMonitor for each channel, if the cluster serves that API.
    pub pod_monitors: bool,
    /// The ClusterRoleBinding that lets brokers verify tokens of service accounts. `None` if the operator may not change one.
    pub token_review_binding: Option<String>,
    /// Whether the operator may change annotations of broker pods: it then chooses which brokers are removed, and balances streams.
    pub autopilot: bool,
    /// What the brokers of all channels have in common.
    pub brokers: BrokerDefaults,
    /// Name of this operator in claims of channels: its namespace.
    pub operator: String,
    /// Label selector of the channels to reconcile; all if `None`.
    pub channel_selector: Option<String>,
}

/// Mount path of the NATS credentials in a broker's pod.
pub const NATS_FOLDER: &str = "/etc/eventcast/nats";
/// Mount path of the configuration in a broker's pod.
pub const CONFIG_FOLDER: &str = "/etc/eventcast/config";
/// Mount path of the token issuers' keys in a broker's pod.
pub const KEYS_FOLDER: &str = "/etc/eventcast/keys";
/// Mount path of the API keys in a broker's pod.
pub const API_KEYS_FOLDER: &str = "/etc/eventcast/api-keys";
/// Mount path of the certificate of the public listener in a broker's pod.
pub const TLS_FOLDER: &str = "/etc/eventcast/tls";
/// Mount path of the files with the channels of a pool.
pub const CHANNELS_FOLDER: &str = "/etc/eventcast/channels";
/// Where the orders of the operator are mounted.
pub const ORDERS_FOLDER: &str = "/etc/eventcast/orders";

/// Which optional APIs the cluster serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalApis {
    /// `gateway.networking.k8s.io/v1` HTTPRoute.
    pub http_routes: bool,
    /// `monitoring.coreos.com/v1` PodMonitor.
    pub pod_monitors: bool,
    /// BrokerPool: absent while the CRDs are those of an older version.
    pub pools: bool,
}

impl OptionalApis {
    /// Whether the cluster serves objects of `kind`. True for every kind that is not optional.
    #[must_use]
    pub const fn serve(self, kind: Kind) -> bool {
        match kind {
            Kind::HttpRoute => self.http_routes,
            Kind::PodMonitor => self.pod_monitors,
            _ => true,
        }
    }
}

/// The credentials for NATS, as the `data` of a Secret.
pub type Credentials = BTreeMap<String, ByteString>;

impl Settings {
    /// Settings for `check`, which connects to NATS and checks permissions. Objects cannot be built from them.
    #[must_use]
    pub fn for_check(nats: Nats, token_review_binding: Option<String>, autopilot: bool) -> Self {
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
            token_review_binding,
            autopilot,
            brokers: BrokerDefaults::default(),
            operator: String::new(),
            channel_selector: None,
        }
    }

    /// Identifies what this operator adds to every pod template: its version, the default image, and the settings of all brokers.
    #[must_use]
    pub fn rollout_id(&self) -> String {
        let Self { broker_image, pull_policy, pull_secrets, brokers, .. } = self;
        let version = env!("CARGO_PKG_VERSION");
        let text = format!("{:?}", (version, broker_image, pull_policy, pull_secrets, brokers));
        short_hash(&text)
    }

    /// Whether brokers need a Secret to connect to NATS.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        !self.nats.secret_files().is_empty()
    }

    /// Whether the operator creates objects of `kind`, and has the permissions for it.
    #[must_use]
    pub fn manages(&self, kind: Kind) -> bool {
        match kind {
            Kind::Secret => self.has_credentials(),
            Kind::Role | Kind::RoleBinding => self.token_review_binding.is_some(),
            _ => true,
        }
    }

    /// Reads the credential files.
    ///
    /// # Errors
    /// The path of the first file that cannot be read, and why.
    pub async fn read_credentials(&self) -> Result<Credentials, (PathBuf, std::io::Error)> {
        let mut credentials = Credentials::new();
        for (key, path) in self.nats.secret_files() {
            let bytes = tokio::fs::read(&path).await.map_err(|error| (path, error))?;
            credentials.insert(key.to_owned(), ByteString(bytes));
        }
        Ok(credentials)
    }
}
