//! Which channel a command is about, and how it is reached: by a URL, by the URL of its status, or through the API server.

use std::{path::PathBuf, time::Duration};

use eventcast_crds::channel::EventChannel;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    channel::{Channel, Query, RequestError},
    client::{Client, Connector},
    credential::Credential,
    failure::Failure,
    kubernetes::{self, Cluster},
    output,
    target::{ChannelName, ChannelUrl},
};

/// How long the URL of a status may take to answer before the API server is used.
const URL_TIMEOUT: Duration = Duration::from_secs(5);

/// Options about the cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ClusterOptions {
    /// Namespace of a channel that is named without one. Default: that of the kubeconfig.
    #[arg(long, short, value_name = "NAMESPACE", help_heading = "Cluster")]
    namespace: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long, help_heading = "Cluster")]
    context: Option<String>,
    /// The kubeconfig. Default: KUBECONFIG, ~/.kube/config, or the service account of the pod.
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<PathBuf>,
}

impl ClusterOptions {
    /// # Errors
    /// There is no cluster.
    pub(crate) async fn connect(&self) -> Result<Cluster, Failure> {
        Cluster::connect(self.kubeconfig.as_deref(), self.context.as_deref()).await
    }

    /// The namespace that is meant if none is named.
    pub(crate) fn namespace<'a>(&'a self, cluster: &'a Cluster) -> &'a str {
        self.namespace.as_deref().unwrap_or_else(|| cluster.namespace())
    }

    /// The namespace of the command line.
    pub(crate) fn named_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The channel that `text` names.
    ///
    /// # Errors
    /// It names none.
    pub(crate) fn name(&self, text: &str, cluster: &Cluster) -> Result<ChannelName, Failure> {
        ChannelName::parse(text, Some(self.namespace(cluster)))
    }
}

/// Options of commands that send requests to a channel.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReachOptions {
    /// The channel. May be left out if --url has it. Without --url it is looked up in the cluster.
    #[arg(value_name = "NAMESPACE/NAME")]
    pub(crate) channel: Option<String>,
    /// URL of a broker, such as http://127.0.0.1:8080, or of a channel, as in its status.
    #[arg(long, env = "EVENTCAST_URL", help_heading = "Way to the channel")]
    pub(crate) url: Option<String>,
    /// File with a token or an API key; read for each request. Or put it into EVENTCAST_TOKEN.
    #[arg(
        long,
        env = "EVENTCAST_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Way to the channel"
    )]
    token_file: Option<PathBuf>,
    /// File with certificate authorities (PEM), beside those of the system.
    #[arg(
        long,
        env = "EVENTCAST_CA_FILE",
        value_name = "FILE",
        help_heading = "Way to the channel"
    )]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
}

impl ReachOptions {
    /// # Errors
    /// There is no such channel, or no way to it.
    pub(crate) async fn channel(self) -> Result<Channel, Failure> {
        if let Some(url) = &self.url {
            let namespace = self.cluster.namespace.as_deref();
            let name = self.channel.as_deref();
            let name = name.map(|name| ChannelName::parse(name, namespace)).transpose()?;
            return self.by_url(url, name.as_ref());
        }
        let Some(name) = &self.channel else {
            let usage = "name the channel, NAMESPACE/NAME, or its --url";
            return Err(Failure::usage(usage));
        };
        let cluster = self.cluster.connect().await?;
        let name = self.cluster.name(name, &cluster)?;
        let channel = cluster.channel(&name).await?;
        self.in_cluster(&cluster, &name, &channel).await
    }

    pub(crate) fn credential(&self) -> Credential {
        Credential::new(self.token_file.clone())
    }

    /// The channel at a URL.
    ///
    /// # Errors
    /// It is none, or a file cannot be used.
    pub(crate) fn by_url(&self, url: &str, name: Option<&ChannelName>) -> Result<Channel, Failure> {
        let url = ChannelUrl::new(url, name)?;
        let connector = Connector::new(&url.origin, self.ca_file.as_deref())?;
        Ok(self.over(url, connector))
    }

    fn over(&self, url: ChannelUrl, connector: Connector) -> Channel {
        let authority = url.origin.authority().map_or_else(String::new, ToString::to_string);
        Channel::new(url, Client::new(connector, authority, self.credential()))
    }

    /// The channel at the URL of its status if a broker answers there, else through the API server.
    ///
    /// # Errors
    /// No broker can be reached.
    pub(crate) async fn in_cluster(
        &self,
        cluster: &Cluster,
        name: &ChannelName,
        channel: &EventChannel,
    ) -> Result<Channel, Failure> {
        let url = channel.status.as_ref().and_then(|status| status.url.as_deref());
        let by_url = url.map(|url| self.by_url(url, Some(name))).transpose()?;
        let why = match &by_url {
            None => "the channel has no URL yet".to_owned(),
            Some(channel) => match unreachable_reason(channel).await {
                None => return Ok(channel.clone()),
                Some(why) => {
                    let why = why.lines().next().unwrap_or_default();
                    format!("{} does not answer ({why})", channel.url.shown())
                }
            },
        };
        let pods = cluster.brokers(channel).await;
        let pods = pods
            .map_err(|error| Failure::failed(format!("{why}; cannot list the brokers: {error}")))?;
        let mut ready = pods.iter().filter(|pod| kubernetes::is_ready(pod)).peekable();
        if ready.peek().is_none() {
            let (namespace, count) = (&name.namespace, pods.len());
            return Err(Failure::failed(format!(
                "{why}, and none of its {count} brokers is ready: `eventcast status {namespace}/{}` says why",
                name.name
            )));
        }
        let is_plain = ready.any(|pod| kubernetes::broker_port(pod, "http").is_some());
        let (port, scheme) = if is_plain { ("http", "http") } else { ("https", "https") };
        let Some(port) = cluster.ready_port(channel, port) else {
            return Err(Failure::failed(format!("{why}, and it has no brokers")));
        };
        output::note(&format!("# {why}; through the API server to its brokers"));
        // Brokers do not see the path of a proxy.
        let authority = by_url.as_ref().and_then(|channel| channel.url.origin.authority());
        let origin = authority.map_or("localhost", |authority| authority.as_str());
        let url = ChannelUrl::new(&format!("{scheme}://{origin}"), Some(name))?;
        let tls_host = (!is_plain).then(|| url.origin.host().unwrap_or_default());
        let connector = Connector::to_pod(port, tls_host, self.ca_file.as_deref())?;
        Ok(self.over(url, connector))
    }
}

/// Why no broker answers; `None` if one does, whatever it says.
async fn unreachable_reason(channel: &Channel) -> Option<String> {
    let query = Query::default();
    let asked = timeout(URL_TIMEOUT, channel.get::<Value>("", &query)).await;
    match asked {
        Err(_) => Some(format!("nothing within {URL_TIMEOUT:?}")),
        Ok(Ok(_)) => None,
        Ok(Err(RequestError::Refused(problem))) if problem.details.is_some() => None,
        Ok(Err(error)) => Some(error.to_string()),
    }
}
