//! The command line. Every flag is an environment variable too.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use eventcast_crds::config::Nats;
use eventcast_runtime::telemetry::LogFormat;
use ipnet::IpNet;

use crate::settings::Settings;

/// The Eventcast operator: makes a JetStream stream and brokers of every EventChannel.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// What to log, as `info` or `eventcast_operator=debug,warn`.
    #[arg(
        long,
        global = true,
        env = "EVENTCAST_LOG",
        default_value = "info,async_nats=warn,kube_client::client::builder=off"
    )]
    pub log: String,
    /// How log lines look.
    #[arg(long, global = true, env = "EVENTCAST_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile EventChannels until SIGTERM.
    Run(Box<Run>),
    /// Print the CustomResourceDefinition, for `kubectl apply --server-side -f -`.
    Crd,
    /// Look whether everything is there that `run` needs, and say what is not.
    Check(Box<Shared>),
}

/// What `run` and `check` are both told.
#[derive(Clone, Debug, clap::Args)]
pub struct Shared {
    /// Namespaces to watch, separated by commas; without it all of them.
    #[arg(long, env = "EVENTCAST_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// Servers of NATS, separated by commas.
    #[arg(
        long,
        env = "EVENTCAST_NATS_SERVERS",
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    nats_servers: Vec<String>,
    /// User of NATS; with --nats-password-file.
    #[arg(long, env = "EVENTCAST_NATS_USER")]
    nats_user: Option<String>,
    /// File with the password of the user.
    #[arg(long, env = "EVENTCAST_NATS_PASSWORD_FILE")]
    nats_password_file: Option<PathBuf>,
    /// File with a token for NATS.
    #[arg(long, env = "EVENTCAST_NATS_TOKEN_FILE")]
    nats_token_file: Option<PathBuf>,
    /// File with NATS credentials (JWT and seed).
    #[arg(long, env = "EVENTCAST_NATS_CREDENTIALS_FILE")]
    nats_credentials_file: Option<PathBuf>,
    /// File with the certificate authorities of NATS.
    #[arg(long, env = "EVENTCAST_NATS_CA_FILE")]
    nats_ca_file: Option<PathBuf>,
    /// File with our client certificate for NATS.
    #[arg(long, env = "EVENTCAST_NATS_CERTIFICATE_FILE")]
    nats_certificate_file: Option<PathBuf>,
    /// File with the key of our client certificate.
    #[arg(long, env = "EVENTCAST_NATS_KEY_FILE")]
    nats_key_file: Option<PathBuf>,
    /// How long a broker waits for one acknowledgement of a publish, in milliseconds.
    #[arg(long, env = "EVENTCAST_NATS_ACK_MILLISECONDS", default_value_t = 750)]
    nats_ack_milliseconds: u64,
    /// Namespace of the Lease, and of the operator.
    #[arg(long, env = "EVENTCAST_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Whether replicas of the operator agree on one that works.
    #[arg(long, env = "EVENTCAST_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
}

/// What `run` is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Run {
    /// What it shares with `check`.
    #[command(flatten)]
    pub shared: Shared,
    /// Image of the brokers.
    #[arg(long, env = "EVENTCAST_BROKER_IMAGE")]
    broker_image: String,
    /// When the image is pulled: IfNotPresent, Always or Never.
    #[arg(long, env = "EVENTCAST_BROKER_IMAGE_PULL_POLICY", default_value = "IfNotPresent",
          value_parser = ["IfNotPresent", "Always", "Never"])]
    broker_image_pull_policy: String,
    /// Secrets to pull the image with, separated by commas; they must be in the channels' namespaces.
    #[arg(long, env = "EVENTCAST_BROKER_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    broker_image_pull_secrets: Vec<String>,
    /// Name of this Kubernetes cluster, where several share one NATS.
    #[arg(long, env = "EVENTCAST_CLUSTER", default_value = "default")]
    cluster: String,
    /// DNS domain of the cluster.
    #[arg(long, env = "EVENTCAST_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Networks of the proxies that write X-Forwarded-For (ingress controllers, Gateways), separated by commas: trusted by channels
    /// that name none and are reached from outside through an Ingress or an HTTPRoute alone. Narrow it to where these pods run.
    #[arg(long, env = "EVENTCAST_TRUSTED_PROXIES", value_delimiter = ',', default_value = PRIVATE_NETWORKS, value_parser = network)]
    trusted_proxies: Vec<Option<IpNet>>,
    /// Give brokers a NetworkPolicy.
    #[arg(long, env = "EVENTCAST_NETWORK_POLICIES", default_value_t = true, action = clap::ArgAction::Set)]
    network_policies: bool,
    /// Give brokers a PodMonitor, where the cluster has that API.
    #[arg(long, env = "EVENTCAST_POD_MONITORS", default_value_t = true, action = clap::ArgAction::Set)]
    pod_monitors: bool,
    /// Address of /livez, /readyz and /metrics.
    #[arg(long, env = "EVENTCAST_ADMIN", default_value = "0.0.0.0:9090")]
    pub admin: SocketAddr,
    /// Name of this replica in the Lease and in Events; by default the pod's, or the host's with the process id.
    #[arg(long, env = "EVENTCAST_IDENTITY")]
    identity: Option<String>,
    /// Channels looked at at once.
    #[arg(long, env = "EVENTCAST_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// A channel that nothing happens to is looked at this often, in seconds.
    #[arg(long, env = "EVENTCAST_RESYNC_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    resync_seconds: u64,
}

/// Where pods and nodes of a cluster are: RFC 1918, RFC 6598, RFC 4193.
const PRIVATE_NETWORKS: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7";

/// A network; `none` and an empty word are how a chart says that there is none.
fn network(text: &str) -> Result<Option<IpNet>, String> {
    match text.trim() {
        "" | "none" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            format!("{text} is not a network: write it as 10.0.0.0/8, or none to trust nobody")
        }),
    }
}

impl Shared {
    /// How to reach NATS.
    #[must_use]
    pub fn nats(&self) -> Nats {
        // An empty variable is how a chart says "none".
        let some = |path: &Option<PathBuf>| path.clone().filter(|p| !p.as_os_str().is_empty());
        Nats {
            servers: self.nats_servers.clone(),
            user: self.nats_user.clone().filter(|user| !user.is_empty()),
            password_file: some(&self.nats_password_file),
            token_file: some(&self.nats_token_file),
            credentials_file: some(&self.nats_credentials_file),
            ca_file: some(&self.nats_ca_file),
            certificate_file: some(&self.nats_certificate_file),
            key_file: some(&self.nats_key_file),
            ack_milliseconds: self.nats_ack_milliseconds,
            create_streams: false,
        }
    }

    /// The namespaces to watch; empty: all.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let named = self.watch_namespaces.iter().map(|n| n.trim().to_owned());
        named.filter(|n| !n.is_empty()).collect()
    }

    /// The operator's own namespace.
    #[must_use]
    pub fn own_namespace(&self) -> String {
        let named = self.lease_namespace.clone().filter(|n| !n.is_empty());
        named.or_else(|| std::env::var("POD_NAMESPACE").ok()).unwrap_or_else(|| "default".into())
    }
}

impl Run {
    /// What holds for all channels.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let secrets = self.broker_image_pull_secrets.iter().filter(|s| !s.is_empty());
        Settings {
            broker_image: self.broker_image.clone(),
            pull_policy: self.broker_image_pull_policy.clone(),
            pull_secrets: secrets.cloned().collect(),
            nats: self.shared.nats(),
            cluster: self.cluster.clone(),
            cluster_domain: self.cluster_domain.clone(),
            trusted_proxies: self.trusted_proxies.iter().flatten().copied().collect(),
            network_policies: self.network_policies,
            pod_monitors: self.pod_monitors,
        }
    }

    /// How often a quiet channel is looked at.
    #[must_use]
    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds)
    }

    /// Name of this replica.
    #[must_use]
    pub fn identity(&self) -> String {
        let named = self.identity.clone().filter(|i| !i.is_empty());
        named.or_else(|| std::env::var("POD_NAME").ok()).unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}-{}", host.trim(), std::process::id())
        })
    }
}
