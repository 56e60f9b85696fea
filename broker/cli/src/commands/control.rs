//! The control ports that a command uses: those of all brokers of a channel, or the one of a URL.

use k8s_openapi::api::core::v1::Pod;

use super::reach::ClusterOptions;
use crate::{
    control::{ControlError, ControlPort},
    failure::Failure,
    kubernetes::{self, Cluster, pod_name},
    output,
    target::ChannelName,
};

/// The control port of every program, unless its settings have another one.
const DEFAULT_PORT: u16 = eventcast_crds::config::DEFAULT_CONTROL_PORT;

/// Options of commands that use the control port.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ControlOptions {
    /// URL of the control port of one broker, such as http://localhost:9091; then no cluster is asked.
    #[arg(
        long,
        env = "EVENTCAST_CONTROL_URL",
        value_name = "URL",
        help_heading = "Way to the brokers"
    )]
    control_url: Option<String>,
    /// The control port in the pods, if `controlPort` of the brokers was changed.
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT, help_heading = "Way to the brokers")]
    control_port: u16,
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
}

/// Control ports, and the channel that was named.
pub(crate) struct ControlTargets {
    pub(crate) channel: Option<ChannelName>,
    pub(crate) ports: Vec<ControlPort>,
}

impl ControlTargets {
    /// `NAMESPACE/NAME`.
    pub(crate) fn channel(&self) -> Option<String> {
        self.channel.as_ref().map(|name| format!("{}/{}", name.namespace, name.name))
    }
}

impl ControlOptions {
    /// Whether one broker is named by a URL.
    pub(crate) fn names_broker(&self) -> bool {
        self.control_url.is_some()
    }

    /// The brokers of a channel whose pods run, or the one of the URL.
    ///
    /// # Errors
    /// There is no such channel, or none of its brokers runs.
    pub(crate) async fn brokers(&self, channel: Option<&str>) -> Result<ControlTargets, Failure> {
        if let Some(url) = &self.control_url {
            let namespace = self.cluster.named_namespace();
            let channel = channel.map(|name| ChannelName::parse(name, namespace)).transpose()?;
            return Ok(ControlTargets { channel, ports: vec![ControlPort::at(url)?] });
        }
        let Some(name) = channel else {
            return Err(Failure::usage("name the channel, NAMESPACE/NAME, or a --control-url"));
        };
        let cluster = self.cluster.connect().await?;
        let name = self.cluster.name(name, &cluster)?;
        let channel = cluster.channel(&name).await?;
        let pods = cluster.brokers(&channel).await;
        let pods = pods
            .map_err(|error| Failure::failed(format!("the brokers cannot be listed: {error}")))?;
        let ports = self.running(&cluster, &pods)?;
        if ports.is_empty() {
            let ChannelName { namespace, name } = &name;
            return Err(Failure::failed(format!(
                "no broker of {namespace}/{name} runs: `eventcast status {namespace}/{name}` says why"
            )));
        }
        Ok(ControlTargets { channel: Some(name), ports })
    }

    /// The operators of the namespace that the command line names, or of all.
    ///
    /// # Errors
    /// None of them runs.
    pub(crate) async fn operators(&self) -> Result<Vec<ControlPort>, Failure> {
        let cluster = self.cluster.connect().await?;
        let pods = cluster.operators(self.cluster.named_namespace()).await;
        let pods = pods.map_err(|error| {
            let hint =
                "name the namespace of the operator with -n, if you may not list the pods of all";
            Failure::failed(format!("the operators cannot be listed: {error}; {hint}"))
        })?;
        let ports = self.running(&cluster, &pods)?;
        if ports.is_empty() {
            return Err(Failure::failed("no operator runs there"));
        }
        Ok(ports)
    }

    /// The control ports of the pods that run. The others are named on standard error.
    fn running(&self, cluster: &Cluster, pods: &[Pod]) -> Result<Vec<ControlPort>, Failure> {
        let (running, others): (Vec<_>, Vec<_>) =
            pods.iter().partition(|pod| kubernetes::is_running(pod));
        for pod in others {
            let (pod, trouble) = (pod_name(pod), kubernetes::trouble(pod));
            output::note(&format!("# {pod} does not run ({trouble})"));
        }
        let port = |pod: &Pod| ControlPort::of_pod(cluster, pod, self.control_port);
        running.into_iter().map(port).collect()
    }
}

/// Splits answers from failures, which are written to standard error. If all have failed, the first is the error.
///
/// # Errors
/// No broker has answered.
pub(crate) fn split_answers<T>(
    answers: Vec<(String, Result<T, ControlError>)>,
) -> Result<BrokerAnswers<T>, Failure> {
    let (mut good, mut failed) = (Vec::new(), Vec::new());
    for (name, answer) in answers {
        match answer {
            Ok(answer) => good.push((name, answer)),
            Err(error) => failed.push(format!("broker {name}: {error}")),
        }
    }
    if good.is_empty() && !failed.is_empty() {
        return Err(Failure::failed(failed.join("\n")));
    }
    for line in &failed {
        output::note(&format!("# {line}"));
    }
    Ok(BrokerAnswers { answers: good, failed: failed.len() })
}

/// What brokers have answered.
pub(crate) struct BrokerAnswers<T> {
    pub(crate) answers: Vec<(String, T)>,
    failed: usize,
}

impl<T> BrokerAnswers<T> {
    /// # Errors
    /// Not all have answered.
    pub(crate) fn complete(&self) -> Result<(), Failure> {
        match self.failed {
            0 => Ok(()),
            failed => {
                let all = self.answers.len() + failed;
                Err(Failure::failed(format!("{failed} of {all} brokers did not answer")))
            }
        }
    }
}
