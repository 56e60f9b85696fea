//! A cluster as its user has it: whatever `KUBECONFIG` names, kubectl, helm, and HTTP through a Service.
//!
//! Knows nothing of how the cluster came to be. [`scenario`] shows what the cluster has to say when one fails.
//! `EVENTCAST_HELM_ARGUMENTS` has further arguments for helm, such as the place of the images; with
//! `RUST_LOG=eventcast_tests::e2e=info` every command is logged with its duration.

mod channel;
mod disturbances;
mod families;
mod fleet;
mod machine;
mod operator;
mod prometheus;
mod proxies;
mod reach;
mod release;

pub use channel::{Channel, WAIT_TIMEOUT};
pub use disturbances::{Disturbances, skipped};
pub use fleet::{Fleet, Peak};
pub use machine::Machine;
pub use prometheus::Prometheus;
pub use proxies::Proxies;
pub use reach::Reach;
pub use release::{Previous, chart};

use std::{panic::AssertUnwindSafe, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::FutureExt as _;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    process::Command,
    time::{Instant, timeout},
};

use crate::{eventually, init_tracing, process::find_on_path};

/// Where the operator runs.
pub const SYSTEM: &str = "eventcast-system";
/// The longest that one command may run; most have a shorter time-out of their own.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(300);
/// The label of a namespace that admits no privileged pod.
const RESTRICTED: &str = "pod-security.kubernetes.io/enforce=restricted";

/// A cluster and the programs to talk to it.
#[derive(Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    helm: PathBuf,
}

/// Runs one scenario; when it fails, with the state of the cluster behind it.
///
/// # Errors
/// Those of the scenario, and a missing cluster.
pub async fn scenario(run: impl AsyncFnOnce(&Cluster) -> Result<()>) -> Result<()> {
    init_tracing();
    let cluster = Cluster::of_environment()?;
    let ended = AssertUnwindSafe(run(&cluster)).catch_unwind().await;
    if !matches!(ended, Ok(Ok(()))) {
        cluster.explain().await;
    }
    match ended {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Cluster {
    /// The cluster of `KUBECONFIG`, which must be set, so that no test reaches a cluster by accident.
    ///
    /// # Errors
    /// When it is not, or kubectl or helm cannot be found.
    pub fn of_environment() -> Result<Self> {
        ensure!(
            std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()),
            "KUBECONFIG is not set: run make e2e, or name a cluster that may be installed to"
        );
        let program = |name: &str| {
            let variable = format!("EVENTCAST_{}", name.to_uppercase());
            let found = std::env::var_os(&variable).map(PathBuf::from).or(find_on_path(name));
            found.with_context(|| format!("no {name} on the PATH: install it, or set {variable}"))
        };
        Ok(Self { kubectl: program("kubectl")?, helm: program("helm")? })
    }

    /// The programs that talk to it, for a shell.
    #[must_use]
    pub fn programs(&self) -> [PathBuf; 2] {
        [self.kubectl.clone(), self.helm.clone()]
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// Its error output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(&self.kubectl).args(arguments), None).await
    }

    /// An object as JSON.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self, namespace: &str, what: &str) -> Result<Value> {
        let text = self.kubectl(&["-n", namespace, "get", what, "-o", "json"]).await?;
        serde_json::from_str(&text).context("kubectl printed something else than JSON")
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub async fn has(&self, namespace: &str, what: &str) -> Result<bool> {
        let arguments = ["-n", namespace, "get", what, "--ignore-not-found", "-o", "name"];
        Ok(!self.kubectl(&arguments).await?.trim().is_empty())
    }

    /// Applies a manifest.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, namespace: &str, manifest: &str) -> Result<()> {
        let mut command = Command::new(&self.kubectl);
        run(command.args(["-n", namespace, "apply", "-f", "-"]), Some(manifest)).await?;
        Ok(())
    }

    /// Asks the API server what it would say about a manifest.
    ///
    /// # Errors
    /// When it would reject it.
    pub async fn dry_run(&self, namespace: &str, manifest: &str) -> Result<()> {
        let mut command = Command::new(&self.kubectl);
        command.args(["-n", namespace, "create", "--dry-run=server", "-f", "-"]);
        run(&mut command, Some(manifest)).await?;
        Ok(())
    }

    /// Waits for a condition of an object.
    ///
    /// # Errors
    /// When it does not hold within `within`.
    pub async fn wait(
        &self,
        namespace: &str,
        what: &str,
        condition: &str,
        within: Duration,
    ) -> Result<()> {
        let (condition, limit) =
            (format!("--for={condition}"), format!("--timeout={}s", within.as_secs()));
        self.kubectl(&["-n", namespace, "wait", &condition, what, &limit]).await?;
        Ok(())
    }

    /// Waits until the container of a pod runs for the second time, and is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn restarted(&self, namespace: &str, pod: &str) -> Result<()> {
        eventually("its container is started again", WAIT_TIMEOUT, || async {
            let pod = self.get(namespace, &format!("pod/{pod}")).await?;
            let status = &pod["status"]["containerStatuses"][0];
            ensure!(status["restartCount"] == 1 && status["ready"] == true, "{status}");
            anyhow::Ok(())
        })
        .await
    }

    /// Makes a namespace that admits only what asks for no privilege, as a careful administrator does.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn restricted_namespace(&self, name: &str) -> Result<()> {
        if !self.has(name, &format!("namespace/{name}")).await? {
            self.kubectl(&["create", "namespace", name]).await?;
        }
        self.kubectl(&["label", "--overwrite", "namespace", name, RESTRICTED]).await?;
        Ok(())
    }

    /// Shows on standard error what an administrator would look at first.
    async fn explain(&self) {
        for question in [
            "get eventchannels,deployments,statefulsets,pods --all-namespaces -o wide",
            "get events --all-namespaces --sort-by=.metadata.creationTimestamp",
            "get eventchannels --all-namespaces -o yaml",
        ] {
            self.show(question).await;
        }
        let pods = "get pods --all-namespaces -l app.kubernetes.io/part-of=eventcast --no-headers \
                    -o custom-columns=:metadata.namespace,:metadata.name";
        let pods = self.kubectl(&words(pods)).await.unwrap_or_default();
        for (namespace, pod) in pods.lines().filter_map(|line| line.trim().split_once(' ')) {
            self.show(&format!("logs --tail=40 -n {namespace} {pod}")).await;
        }
    }

    async fn show(&self, question: &str) {
        let answer = self.kubectl(&words(question)).await;
        eprintln!("--- kubectl {question}");
        eprintln!("{}", answer.unwrap_or_else(|error| format!("{error:#}")));
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Runs a command to its end.
async fn run(command: &mut Command, input: Option<&str>) -> Result<String> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let what = format!("{:?}", command.as_std());
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| format!("failed to start {what}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = timeout(COMMAND_TIMEOUT, child.wait_with_output()).await;
    let output = output.with_context(|| format!("{what}: no end within {COMMAND_TIMEOUT:?}"))??;
    tracing::info!(seconds = began.elapsed().as_secs_f32(), "{what}");
    if !output.status.success() {
        bail!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
