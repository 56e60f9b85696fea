//! An operator without the rights that it needs.

use anyhow::{Result, ensure};
use eventcast_tests::{
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{WAIT_TIMEOUT, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
    process,
};
use serde_json::json;

use crate::reconcile_rights::apply;

#[tokio::test]
async fn an_operator_without_a_right_says_which_and_is_not_ready() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    install_crd(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "poor", "namespace": namespace}});
    apply(&server, &account.to_string()).await?;
    let token = server.token(&namespace, "poor").await?;
    let nats = NatsServer::start().await?;
    // Only an operator of all namespaces lists them, for the pools.
    for (watch, place) in
        [(&*namespace, format!("namespace {namespace}")), ("", "all namespaces".into())]
    {
        let operator = Operator::launch(Options {
            watch: watch.to_owned(),
            ..Options::of(server.kubeconfig(&token)?, &nats, &namespace)
        })?;
        eventually("it says what is missing", WAIT_TIMEOUT, || async {
            let (status, text) = operator.get("/readyz").await?;
            for resource in ["eventchannels/status", "brokerpools/status"] {
                let wanted = format!("patch {resource} (eventcast.dev) in {place}");
                ensure!(status == 503 && text.contains(&wanted), "{status} {text}");
            }
            let lists = text.contains("list namespaces (core) in all namespaces");
            ensure!(lists == watch.is_empty(), "{text}");
            anyhow::Ok(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn check_says_whether_everything_is_there() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let mut nats = NatsServer::start().await?;
    let check = |url: String| {
        let mut command = tokio::process::Command::new(process::built("eventcast-operator"));
        command.env("KUBECONFIG", server.admin_kubeconfig()).arg("check");
        command.args([format!("--nats-servers={url}"), format!("--lease-namespace={namespace}")]);
        async move {
            let done = command.output().await?;
            anyhow::Ok((done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned()))
        }
    };
    let (code, said) = check(nats.url()).await?;
    ensure!(code == Some(1) && said.contains("serves no EventChannel"), "{said}");
    install_crd(&server).await?;
    eventually("everything is there", WAIT_TIMEOUT, || async {
        let (code, said) = check(nats.url()).await?;
        ensure!(code == Some(0), "{said}");
        anyhow::Ok(())
    })
    .await?;
    nats.kill9()?;
    let (code, said) = check(nats.url()).await?;
    ensure!(code == Some(1) && said.contains("no connection to NATS"), "{said}");
    Ok(())
}
