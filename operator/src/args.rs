//! The command line. Every flag can also be set by an environment variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use eventcast_crds::config::{DEFAULT_CONTROL_PORT, Nats};
use eventcast_runtime::{listener::parse_address, telemetry::LogFormat};
use ipnet::IpNet;

use crate::{broker_defaults::BrokerDefaults, rollouts::RolloutSettings, settings::Settings};

/// The Eventcast operator: runs a JetStream stream and brokers for every EventChannel.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Args {
    /// Log filter, such as `info` or `eventcast_operator=debug,warn`.
    #[arg(
        long,
        global = true,
        env = "EVENTCAST_LOG",
        default_value = "info,async_nats=warn,kube_client::client::builder=off"
    )]
    pub log: String,
    /// Format of the log lines.
    #[arg(long, global = true, env = "EVENTCAST_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile EventChannels until SIGTERM.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions, for `kubectl apply --server-side -f -`.
    Crd,
    /// Check NATS, the CRDs and the permissions that `run` needs, and report every problem.
    Check(Box<CommonArgs>),
}

/// Arguments of `run` and `check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonArgs {
    /// Namespaces to watch, separated by commas. All namespaces if empty.
    #[arg(long, env = "EVENTCAST_WATCH_NAMESPACES", value_delimiter = ',')]
    pub watch_namespaces: Vec<String>,
    /// NATS servers, separated by commas.
    #[arg(
        long,
        env = "EVENTCAST_NATS_SERVERS",
        value_delimiter = ',',
        default_value = "nats://127.0.0.1:4222"
    )]
    nats_servers: Vec<String>,
    /// NATS user. Requires --nats-password-file.
    #[arg(long, env = "EVENTCAST_NATS_USER")]
    nats_user: Option<String>,
    /// File with the password of the NATS user.
    #[arg(long, env = "EVENTCAST_NATS_PASSWORD_FILE")]
    nats_password_file: Option<PathBuf>,
    /// File with the NATS token.
    #[arg(long, env = "EVENTCAST_NATS_TOKEN_FILE")]
    nats_token_file: Option<PathBuf>,
    /// NATS credentials file (JWT and seed).
    #[arg(long, env = "EVENTCAST_NATS_CREDENTIALS_FILE")]
    nats_credentials_file: Option<PathBuf>,
    /// File with the certificate authorities of the NATS servers.
    #[arg(long, env = "EVENTCAST_NATS_CA_FILE")]
    nats_ca_file: Option<PathBuf>,
    /// File with the client certificate for NATS.
    #[arg(long, env = "EVENTCAST_NATS_CERTIFICATE_FILE")]
    nats_certificate_file: Option<PathBuf>,
    /// File with the private key of the client certificate.
    #[arg(long, env = "EVENTCAST_NATS_KEY_FILE")]
    nats_key_file: Option<PathBuf>,
    /// How long a broker waits for NATS to acknowledge a publish before it retries, in milliseconds.
    #[arg(long, env = "EVENTCAST_NATS_ACK_MILLISECONDS", default_value_t = 750)]
    nats_ack_milliseconds: u64,
    /// JetStream domain of the NATS account, for NATS behind a leaf node.
    #[arg(long, env = "EVENTCAST_NATS_DOMAIN")]
    nats_domain: Option<String>,
    /// Prefix of the subjects for replies, for a NATS user that may not subscribe to _INBOX.>.
    #[arg(long, env = "EVENTCAST_NATS_INBOX_PREFIX")]
    nats_inbox_prefix: Option<String>,
    /// Whether TLS starts before the greeting of NATS, for servers with handshake_first.
    #[arg(long, env = "EVENTCAST_NATS_TLS_FIRST", default_value_t = false, action = clap::ArgAction::Set)]
    nats_tls_first: bool,
    /// Namespace of the operator and its Lease. By default POD_NAMESPACE.
    #[arg(long, env = "EVENTCAST_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Whether to elect a leader among the replicas of the operator.
    #[arg(long, env = "EVENTCAST_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// ClusterRoleBinding whose subjects are the brokers that may verify tokens of Kubernetes service accounts. If empty, channels with
    /// access.kubernetes cannot verify them.
    #[arg(long, env = "EVENTCAST_TOKEN_REVIEW_BINDING")]
    token_review_binding: Option<String>,
    /// Whether the operator may change annotations of broker pods. It then removes the brokers with the fewest subscribers first, and balances
    /// streams. Without it Kubernetes chooses which brokers are removed, and streams stay where they are.
    #[arg(long, env = "EVENTCAST_AUTOPILOT", default_value_t = true, action = clap::ArgAction::Set)]
    pub autopilot: bool,
    /// File with settings of the brokers of all channels (YAML): labels, pod template, log, limits, scraping, NetworkPolicies.
    /// docs/PLATFORM.md lists them. Read at the start.
    #[arg(long, env = "EVENTCAST_BROKER_DEFAULTS", value_name = "FILE")]
    broker_defaults: Option<PathBuf>,
}

/// Arguments of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Arguments that `check` takes, too.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Image of the brokers.
    #[arg(long, env = "EVENTCAST_BROKER_IMAGE")]
    broker_image: String,
    /// Pull policy of the broker image.
    #[arg(long, env = "EVENTCAST_BROKER_IMAGE_PULL_POLICY", default_value = "IfNotPresent",
          value_parser = ["IfNotPresent", "Always", "Never"])]
    broker_image_pull_policy: String,
    /// Image pull secrets of the brokers, separated by commas. They must exist in the namespaces of the channels.
    #[arg(long, env = "EVENTCAST_BROKER_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    broker_image_pull_secrets: Vec<String>,
    /// Name of this Kubernetes cluster. Clusters that share one NATS need different names.
    #[arg(long, env = "EVENTCAST_CLUSTER", default_value = "default")]
    cluster: String,
    /// DNS domain of the cluster.
    #[arg(long, env = "EVENTCAST_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Networks of the proxies that set X-Forwarded-For (ingress controllers, Gateways), separated by commas; `none` trusts
    /// no proxy. Applies to channels that set no exposure.trustedProxies and are exposed only through an Ingress or an
    /// HTTPRoute. Narrow it to the networks in which the proxies run.
    #[arg(long, env = "EVENTCAST_TRUSTED_PROXIES", value_delimiter = ',', default_value = PRIVATE_NETWORKS, value_parser = parse_network)]
    trusted_proxies: Vec<Option<IpNet>>,
    /// Whether to create a NetworkPolicy for each channel.
    #[arg(long, env = "EVENTCAST_NETWORK_POLICIES", default_value_t = true, action = clap::ArgAction::Set)]
    network_policies: bool,
    /// Whether to create a PodMonitor for each channel, if the cluster serves that API.
    #[arg(long, env = "EVENTCAST_POD_MONITORS", default_value_t = true, action = clap::ArgAction::Set)]
    pod_monitors: bool,
    /// Label selector of the EventChannels to reconcile, such as `canary=yes` or `!canary`; all if empty. Operators that share a namespace need
    /// selectors that exclude each other.
    #[arg(long, env = "EVENTCAST_CHANNEL_SELECTOR")]
    channel_selector: Option<String>,
    /// Address of the admin port: /livez, /readyz and /metrics. `[::]` accepts IPv4 as well.
    #[arg(long, value_parser = parse_address, env = "EVENTCAST_ADMIN", default_value = "[::]:9090")]
    pub admin: SocketAddr,
    /// Port of the control listener, on the loopback addresses alone: the log level. 0: any free port.
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_CONTROL_PORT)]
    pub control_port: u16,
    /// File with the log filter. It is read again when it changes, and applies instead of --log unless it is empty.
    #[arg(long, env = "EVENTCAST_LOG_LEVEL_FILE")]
    pub log_level_file: Option<PathBuf>,
    /// Name of this replica in the Lease and in Events. By default POD_NAME, or host name and process id.
    #[arg(long, env = "EVENTCAST_IDENTITY")]
    identity: Option<String>,
    /// Number of channels that are reconciled at the same time.
    #[arg(long, env = "EVENTCAST_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// Interval at which every channel is reconciled even if nothing changed, in seconds.
    #[arg(long, env = "EVENTCAST_RESYNC_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    resync_seconds: u64,
    /// Interval at which the subscribers of brokers are counted to scale and to balance them, in seconds.
    #[arg(long, env = "EVENTCAST_LOOK_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=60))]
    look_seconds: u64,
    /// How many times faster time passes for the autopilot: a measurement replays a day of load in minutes.
    #[arg(long, hide = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub autopilot_speed: u32,
    /// Channels whose brokers are replaced at the same time after the operator itself has changed what is wanted: its version, the default image or
    /// settings of all brokers. If not set: 3, or one in fifty channels if that is more.
    #[arg(long, env = "EVENTCAST_MAX_ROLLOUTS", value_parser = clap::value_parser!(u16).range(1..))]
    max_rollouts: Option<u16>,
    /// How long the brokers of the first of these channels must be healthy before those of others are replaced, in seconds.
    #[arg(long, env = "EVENTCAST_ROLLOUT_SOAK_SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    rollout_soak_seconds: u64,
}

/// Private networks (RFC 1918, RFC 6598, RFC 4193), which hold the pods and nodes of most clusters.
const PRIVATE_NETWORKS: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7";

/// Parses a network. `none` and an empty string mean no network: a chart cannot pass an empty list.
fn parse_network(text: &str) -> Result<Option<IpNet>, String> {
    match text.trim() {
        "" | "none" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            format!("{text} is not a network: write it as 10.0.0.0/8, or none to trust no proxy")
        }),
    }
}

impl CommonArgs {
    /// How to reach NATS.
    #[must_use]
    pub fn nats(&self) -> Nats {
        // A chart passes an empty variable for an option that is not set.
        let path = |value: &Option<PathBuf>| value.clone().filter(|p| !p.as_os_str().is_empty());
        Nats {
            servers: self.nats_servers.clone(),
            user: self.nats_user.clone().filter(|user| !user.is_empty()),
            password_file: path(&self.nats_password_file),
            token_file: path(&self.nats_token_file),
            credentials_file: path(&self.nats_credentials_file),
            ca_file: path(&self.nats_ca_file),
            certificate_file: path(&self.nats_certificate_file),
            key_file: path(&self.nats_key_file),
            ack_milliseconds: self.nats_ack_milliseconds,
            domain: self.nats_domain.clone().filter(|domain| !domain.is_empty()),
            inbox_prefix: self.nats_inbox_prefix.clone().filter(|prefix| !prefix.is_empty()),
            tls_first: self.nats_tls_first,
            create_streams: false,
        }
    }

    /// The ClusterRoleBinding that lets brokers verify tokens of service accounts.
    #[must_use]
    pub fn token_review_binding(&self) -> Option<String> {
        self.token_review_binding.clone().filter(|name| !name.is_empty())
    }

    /// The settings of the brokers of all channels.
    ///
    /// # Errors
    /// The file cannot be read, or every problem in it.
    pub fn broker_defaults(&self) -> Result<BrokerDefaults, String> {
        let Some(file) = self.broker_defaults.as_ref().filter(|f| !f.as_os_str().is_empty()) else {
            return Ok(BrokerDefaults::default());
        };
        let path = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|e| format!("--broker-defaults: failed to read {path}: {e}"))?;
        BrokerDefaults::parse(&text)
            .map_err(|problems| format!("--broker-defaults: {path}: {}", problems.join("; ")))
    }

    /// The namespaces to watch; all if empty.
    #[must_use]
    pub fn namespaces(&self) -> Vec<String> {
        let named = self.watch_namespaces.iter().map(|n| n.trim().to_owned());
        named.filter(|n| !n.is_empty()).collect()
    }

    /// The operator's own namespace: the flag, else `POD_NAMESPACE`, else `default`.
    #[must_use]
    pub fn own_namespace(&self) -> String {
        let named = self.lease_namespace.clone().filter(|n| !n.is_empty());
        named.or_else(|| std::env::var("POD_NAMESPACE").ok()).unwrap_or_else(|| "default".into())
    }
}

impl RunArgs {
    /// The settings that apply to all channels.
    ///
    /// # Errors
    /// The file of `--broker-defaults` is unusable.
    pub fn settings(&self) -> Result<Settings, String> {
        let secrets = self.broker_image_pull_secrets.iter().filter(|s| !s.is_empty());
        Ok(Settings {
            broker_image: self.broker_image.clone(),
            pull_policy: self.broker_image_pull_policy.clone(),
            pull_secrets: secrets.cloned().collect(),
            nats: self.common.nats(),
            cluster: self.cluster.clone(),
            cluster_domain: self.cluster_domain.clone(),
            trusted_proxies: self.trusted_proxies.iter().flatten().copied().collect(),
            network_policies: self.network_policies,
            pod_monitors: self.pod_monitors,
            token_review_binding: self.common.token_review_binding(),
            autopilot: self.common.autopilot,
            brokers: self.common.broker_defaults()?,
            operator: self.common.own_namespace(),
            channel_selector: self.channel_selector.clone().filter(|s| !s.is_empty()),
        })
    }

    /// Interval at which every channel is reconciled even if nothing changed.
    #[must_use]
    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds)
    }

    /// Limits of rollouts that the operator begins itself.
    #[must_use]
    pub fn rollouts(&self) -> RolloutSettings {
        RolloutSettings {
            max_rollouts: self.max_rollouts.map(usize::from),
            soak: Duration::from_secs(self.rollout_soak_seconds),
        }
    }

    /// Interval at which the subscribers of brokers are counted.
    #[must_use]
    pub fn look_interval(&self) -> Duration {
        Duration::from_secs(self.look_seconds)
    }

    /// Name of this replica: the flag, else `POD_NAME`, else host name and process id.
    #[must_use]
    pub fn identity(&self) -> String {
        let named = self.identity.clone().filter(|i| !i.is_empty());
        named.or_else(|| std::env::var("POD_NAME").ok()).unwrap_or_else(|| {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}-{}", host.trim(), std::process::id())
        })
    }
}
