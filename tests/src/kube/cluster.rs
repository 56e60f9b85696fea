//! A way into a cluster with every right: clients, kubeconfigs for child processes, kubectl.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::{Namespace, ServiceAccount},
};
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig, NamedAuthInfo},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::program;
use crate::eventually;

/// A cluster, through its administrator's kubeconfig.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    admin: Kubeconfig,
    kubeconfigs: AtomicUsize,
}

impl Cluster {
    /// The cluster of a kubeconfig; files go to `folder`.
    pub(super) fn new(admin: Kubeconfig, folder: TempDir) -> Result<Self> {
        let cluster = Self { folder, admin, kubeconfigs: AtomicUsize::new(0) };
        write(&cluster.admin_kubeconfig(), &cluster.admin)?;
        Ok(cluster)
    }

    /// Where its files are.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `/readyz` succeeds.
    pub(super) async fn ready(&self, within: Duration) -> Result<()> {
        let client = self.client().await?;
        eventually("the API server is ready", within, || async {
            let request = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(request).await.context("not ready")
        })
        .await?;
        Ok(())
    }

    /// A client with every right. Each test has its own: it belongs to the test's runtime.
    ///
    /// # Errors
    /// When the kubeconfig is of no use. Nothing is asked of the server.
    pub async fn client(&self) -> Result<Client> {
        connect(self.admin.clone()).await
    }

    /// A client with the rights of a ServiceAccount.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn client_for(&self, namespace: &str, service_account: &str) -> Result<Client> {
        let token = self.token(namespace, service_account).await?;
        connect(self.with_token(&token)?).await
    }

    /// A token of a ServiceAccount for the API server, good for an hour.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn token(&self, namespace: &str, service_account: &str) -> Result<String> {
        self.token_with(namespace, service_account, TokenRequestSpec::default()).await
    }

    /// A token of a ServiceAccount with the audiences, the lifetime and the pod of `spec`.
    ///
    /// # Errors
    /// When there is no such ServiceAccount or pod.
    pub async fn token_with(
        &self,
        namespace: &str,
        service_account: &str,
        spec: TokenRequestSpec,
    ) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let parameters = PostParams::default();
        let answer = accounts.create_token_request(service_account, &parameters, &request).await;
        let answer =
            answer.with_context(|| format!("no token of {namespace}/{service_account}"))?;
        Ok(answer.status.context("a token request without an answer")?.token)
    }

    /// A kubeconfig with a [`token`](Self::token), for child processes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self, token: &str) -> Result<PathBuf> {
        let number = self.kubeconfigs.fetch_add(1, Ordering::Relaxed);
        let file = self.folder().join(format!("kubeconfig-{number}.json"));
        write(&file, &self.with_token(token)?)?;
        Ok(file)
    }

    /// The kubeconfig with every right.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig-admin.json")
    }

    /// Runs kubectl with every right.
    ///
    /// # Errors
    /// When it cannot be run; whether it failed is in its output.
    pub async fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> Result<Output> {
        self.run_kubectl(arguments, stdin, None).await
    }

    /// Changes an object with `kubectl edit`, as a person whose editor applies a script of sed.
    ///
    /// # Errors
    /// When kubectl fails, or the script changes nothing.
    pub async fn edit(&self, namespace: &str, object: &str, script: &str) -> Result<()> {
        let editor = self
            .folder()
            .join(format!("editor-{}.sh", self.kubeconfigs.fetch_add(1, Ordering::Relaxed)));
        fs::write(&editor, format!("#!/bin/sh\nexec sed -i '{script}' \"$1\"\n"))?;
        fs::set_permissions(&editor, fs::Permissions::from_mode(0o700))?;
        let arguments = ["edit", "--namespace", namespace, object];
        let done = self.run_kubectl(&arguments, None, Some(&editor)).await?;
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(done.status.success() && said.contains(" edited"), "{script}: {said}");
        Ok(())
    }

    async fn run_kubectl(
        &self,
        arguments: &[&str],
        stdin: Option<&str>,
        editor: Option<&Path>,
    ) -> Result<Output> {
        let mut command = Command::new(program("kubectl"));
        command
            .args(arguments)
            .env("KUBECONFIG", self.admin_kubeconfig())
            .env("KUBECACHEDIR", self.folder().join("kubectl"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(editor) = editor {
            command.env("KUBE_EDITOR", editor);
        }
        let mut child = command.spawn().context("failed to start kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        input.write_all(stdin.unwrap_or_default().as_bytes()).await?;
        drop(input);
        child.wait_with_output().await.context("failed to wait for kubectl")
    }

    fn with_token(&self, token: &str) -> Result<Kubeconfig> {
        let mut config = self.admin.clone();
        let user: NamedAuthInfo =
            serde_json::from_value(json!({"name": "token", "user": {"token": token}}))?;
        config.auth_infos = vec![user];
        for context in config.contexts.iter_mut().filter_map(|named| named.context.as_mut()) {
            context.user = Some("token".to_owned());
        }
        Ok(config)
    }
}

/// A new namespace with a name of its own. It has the label `eventcast-tests=temporary`: the harness deletes its own
/// cluster after the test; in another cluster the namespace stays.
///
/// # Errors
/// When it cannot be made.
pub async fn temp_namespace(client: &Client) -> Result<String> {
    let suffix: String = (0..8).map(|_| fastrand::lowercase()).collect();
    let name = format!("test-{suffix}");
    let namespace: Namespace = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"eventcast-tests": "temporary"}}
    }))?;
    let created = Api::all(client.clone()).create(&PostParams::default(), &namespace).await;
    created.with_context(|| format!("failed to create the namespace {name}"))?;
    Ok(name)
}

async fn connect(config: Kubeconfig) -> Result<Client> {
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(config, &options).await.context("kubeconfig")?;
    Client::try_from(config).context("failed to make a client")
}

fn write(file: &Path, config: &Kubeconfig) -> Result<()> {
    let text = serde_json::to_string_pretty(config)?;
    fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
}
