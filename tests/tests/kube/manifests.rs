//! The plain manifests of `make manifests`, applied to a real API server.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    chart, init_tracing,
    kube::{ApiServer, Cluster, program},
    namespace::install_crd,
    process, repository,
};

/// Applies what `arguments` name; the API server must not warn of anything.
async fn apply(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let arguments = [&["apply", "--server-side"], arguments].concat();
    let done = cluster.kubectl(&arguments, None).await?;
    let [out, said] = [done.stdout, done.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    ensure!(done.status.success() && !said.contains("Warning"), "{arguments:?}: {said}");
    Ok(out)
}

#[tokio::test]
async fn plain_manifests_install_everything_and_the_restricted_namespace_admits_it() -> Result<()> {
    init_tracing();
    let folder = process::folder("eventcast-manifests-")?;
    let path = folder.path().to_str().context("a path that is not UTF-8")?;
    let mut render = Command::new(repository().join("charts/manifests.sh"));
    chart::run(render.arg(path).env("EVENTCAST_HELM", program("helm")))?;
    let file = |name: &str| format!("{path}/{name}");

    let server = ApiServer::start().await?;
    let applied = apply(&server, &["-f", &file("crds.yaml")]).await?;
    ensure!(applied.contains("eventchannels.eventcast.dev serverside-applied"), "{applied}");
    install_crd(&server).await?; // waits until it is served
    let applied = apply(&server, &["-f", &file("install.yaml")]).await?;
    for object in [
        "namespace/eventcast-system",
        "deployment.apps/eventcast-operator",
        "statefulset.apps/eventcast-nats",
        "clusterrole.rbac.authorization.k8s.io/eventcast-operator",
        "configmap/eventcast-broker-defaults",
    ] {
        ensure!(applied.contains(&format!("{object} serverside-applied")), "{object}: {applied}");
    }
    // The same by kustomize, which kubectl has.
    apply(&server, &["--force-conflicts", "-k", path]).await?;

    let namespaced = fs::read_to_string(file("install-namespaced.yaml"))?;
    for manifest in chart::parse(&namespaced)? {
        let (kind, namespace) =
            (chart::text(&manifest, "/kind"), chart::text(&manifest, "/metadata/namespace"));
        ensure!(kind == "Namespace" || namespace == "eventcast-system", "{kind} is outside");
    }
    apply(&server, &["--dry-run=server", "-f", &file("install-namespaced.yaml")]).await?;
    let all = fs::read_to_string(file("install.yaml"))? + &namespaced;
    ensure!(!all.contains("helm.sh/hook"), "the pod of `helm test` is not for others");
    Ok(())
}
