//! Which cluster: that of a kubeconfig, as kubectl finds it, or that of the pod.

use std::{env, error::Error, io::ErrorKind, path::Path};

use kube::{
    Client, Config,
    client::AuthError,
    config::{ExecConfig, InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::failure::Failure;

/// A client for a cluster, and the namespace of its context.
///
/// # Errors
/// There is no cluster, or the credentials for it cannot be had.
pub(super) async fn connect(
    file: Option<&Path>,
    context: Option<&str>,
) -> Result<(Client, String), Failure> {
    let options =
        KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let unusable = |error: KubeconfigError| no_cluster(&kubeconfig_problem(&error));
    let read = match file {
        Some(file) => Some(Kubeconfig::read_from(file).map_err(unusable)?),
        None => listed().map_err(unusable)?,
    };
    let config = match (read, context) {
        (Some(read), _) => {
            Config::from_custom_kubeconfig(read, &options).await.map_err(unusable)?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(unusable)?,
        (None, None) => Config::infer().await.map_err(|error| no_cluster(&inferred(&error)))?,
    };
    let namespace = config.default_namespace.clone();
    let exec = config.auth_info.exec.clone();
    let client = Client::try_from(config).map_err(|error| match &error {
        kube::Error::Auth(auth) => no_credentials(auth, exec.as_ref()),
        _ => no_cluster(&causes(&error)),
    })?;
    Ok((client, namespace))
}

/// What the files of `KUBECONFIG` say together; nothing if there are none. Like kubectl, it passes over those that do not exist.
fn listed() -> Result<Option<Kubeconfig>, KubeconfigError> {
    let Some(paths) = env::var_os("KUBECONFIG") else { return Ok(None) };
    let mut merged = None;
    for path in env::split_paths(&paths).filter(|path| path.exists()) {
        let next = Kubeconfig::read_from(path)?;
        merged = Some(merged.unwrap_or_else(Kubeconfig::default).merge(next)?);
    }
    Ok(merged)
}

/// An error with all that it says about its causes: that of a connection is behind two others.
pub(super) fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

fn no_cluster(why: &str) -> Failure {
    Failure::usage(format!(
        "no cluster: {why}. Name a kubeconfig with --kubeconfig or KUBECONFIG, or reach a broker with --url"
    ))
}

/// Why the kubeconfig gives no credentials. What its command printed is on standard error already.
fn no_credentials(error: &AuthError, exec: Option<&ExecConfig>) -> Failure {
    let command = exec.and_then(|exec| exec.command.as_deref()).unwrap_or_default();
    Failure::failed(match error {
        AuthError::AuthExecRun { out, .. } => {
            format!("the kubeconfig's command for credentials, {command}, failed: {}", out.status)
        }
        AuthError::AuthExecStart(error) => {
            let hint = exec.and_then(|exec| exec.install_hint.as_deref()).unwrap_or_default();
            let hint = hint.trim();
            let space = if hint.is_empty() { "" } else { "\n  " };
            format!(
                "the kubeconfig's command for credentials, {command}, cannot be run: {error}{space}{hint}"
            )
        }
        _ => format!("the kubeconfig gives no credentials: {}", causes(error)),
    })
}

/// Why neither a kubeconfig nor the environment of a pod is usable: that of the kubeconfig, which users can mend.
fn inferred(error: &InferConfigError) -> String {
    let kubeconfig = error.source().and_then(|source| source.downcast_ref::<KubeconfigError>());
    kubeconfig.map_or_else(|| error.to_string(), kubeconfig_problem)
}

fn kubeconfig_problem(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::ReadConfig(io, path) if io.kind() == ErrorKind::NotFound => {
            format!("there is no file {}", path.display())
        }
        KubeconfigError::CurrentContextNotSet => {
            "the kubeconfig has no current context: choose one with --context".into()
        }
        KubeconfigError::LoadContext(name) => format!("the kubeconfig has no context {name}"),
        error => causes(error),
    }
}
