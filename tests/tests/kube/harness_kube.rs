//! The Kubernetes harness against the real API server: what the operator suites rely on.

use std::time::Duration;

use anyhow::{Result, ensure};
use eventcast_tests::{
    eventually,
    kube::{ApiServer, Cluster, temp_namespace},
};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Pod, ServiceAccount},
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client, Error,
    api::{ListParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

fn made<K: DeserializeOwned>(value: Value) -> Result<K> {
    Ok(serde_json::from_value(value)?)
}

async fn create_config_map(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let object: ConfigMap = made(json!({"metadata": {"name": name}, "data": {"a": "b"}}))?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &object).await?;
    Ok(())
}

async fn config_maps(client: &Client, namespace: &str) -> Result<Vec<String>, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let list = api.list(&ListParams::default()).await?;
    let names = list.items.into_iter().filter_map(|object| object.metadata.name);
    Ok(names.filter(|name| name != "kube-root-ca.crt").collect()) // of a controller-manager
}

async fn create_service_account(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let account: ServiceAccount = made(json!({"metadata": {"name": name}}))?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &account).await?;
    Ok(())
}

async fn allow_to_list(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let parameters = PostParams::default();
    let role: Role = made(json!({
        "metadata": {"name": name},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}],
    }))?;
    Api::namespaced(client.clone(), namespace).create(&parameters, &role).await?;
    let binding: RoleBinding = made(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }))?;
    Api::namespaced(client.clone(), namespace).create(&parameters, &binding).await?;
    Ok(())
}

async fn kubectl(cluster: &Cluster, arguments: &[&str], stdin: Option<&str>) -> Result<String> {
    let output = cluster.kubectl(arguments, stdin).await?;
    ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn tests_share_a_cluster_and_have_their_own_namespaces() -> Result<()> {
    let (cluster, same) = (ApiServer::shared().await?, ApiServer::shared().await?);
    let client = cluster.client().await?;
    let (one, two) = (temp_namespace(&client).await?, temp_namespace(&client).await?);
    create_config_map(&client, &one, "a").await?;
    assert_eq!(config_maps(&same.client().await?, &one).await?, ["a"]);
    assert!(config_maps(&client, &two).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_pod_needs_no_service_account() -> Result<()> {
    let server = ApiServer::shared().await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    create_service_account(&client, &namespace, "default").await.ok(); // a controller-manager makes it
    let pod: Pod = made(json!({
        "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "none.invalid/a"}]},
    }))?;
    let pod: Pod = Api::namespaced(client, &namespace).create(&PostParams::default(), &pod).await?;
    assert_eq!(pod.metadata.name.as_deref(), Some("a"));
    Ok(())
}

#[tokio::test]
async fn kubectl_reads_what_clients_write_and_the_other_way_round() -> Result<()> {
    let cluster = ApiServer::shared().await?;
    let client = cluster.client().await?;
    let namespace = temp_namespace(&client).await?;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let apply = ["apply", "-n", &namespace, "-f", "-"];
    kubectl(&cluster, &apply, Some(&object.to_string())).await?;
    assert_eq!(config_maps(&client, &namespace).await?, ["a"]);
    create_config_map(&client, &namespace, "b").await?;
    let get = ["get", "configmap", "b", "-n", &namespace, "-o", "name"];
    assert_eq!(kubectl(&cluster, &get, None).await?.trim(), "configmap/b");
    let refused = cluster.kubectl(&["get", "configmap", "c", "-n", &namespace], None).await?;
    assert!(!refused.status.success());
    Ok(())
}

#[tokio::test]
async fn a_service_account_has_the_rights_of_its_roles_and_is_audited() -> Result<()> {
    let server = ApiServer::start().await?;
    let admin = server.client().await?;
    let namespace = temp_namespace(&admin).await?;
    create_service_account(&admin, &namespace, "robot").await?;
    let robot = server.client_for(&namespace, "robot").await?;
    let user = format!("system:serviceaccount:{namespace}:robot");

    let refused = config_maps(&robot, &namespace).await;
    assert!(matches!(&refused, Err(Error::Api(status)) if status.code == 403), "{refused:?}");
    let event =
        server.audited("a refusal", WAIT_TIMEOUT, |e| e.user == user && e.code == 403).await?;
    assert_eq!((event.verb.as_str(), event.group.as_str()), ("list", ""));
    assert_eq!((event.resource.as_str(), event.namespace), ("configmaps", namespace.clone()));

    allow_to_list(&admin, &namespace, "robot").await?;
    eventually("its role is known", WAIT_TIMEOUT, || config_maps(&robot, &namespace)).await?;
    server.audited("an answer", WAIT_TIMEOUT, |e| e.user == user && e.code == 200).await?;

    // the same for a child process
    let kubeconfig = server.kubeconfig(&server.token(&namespace, "robot").await?)?;
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let can = ["auth", "can-i", "create", "pods", "-n", &namespace, &kubeconfig];
    assert_eq!(String::from_utf8(server.kubectl(&can, None).await?.stdout)?.trim(), "no");
    Ok(())
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data_on_its_port() -> Result<()> {
    let mut server = ApiServer::start().await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    create_config_map(&client, &namespace, "a").await?;
    server.kill9()?;
    assert!(config_maps(&client, &namespace).await.is_err(), "dead");
    server.restart().await?;
    assert_eq!(config_maps(&client, &namespace).await?, ["a"]);
    Ok(())
}

#[tokio::test]
async fn a_paused_server_is_silent_until_it_goes_on() -> Result<()> {
    let server = ApiServer::start().await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    server.pause()?;
    let list = timeout(Duration::from_millis(300), config_maps(&client, &namespace)).await;
    assert!(list.is_err(), "it answered while it was stopped");
    server.resume()?;
    assert!(timeout(WAIT_TIMEOUT, config_maps(&client, &namespace)).await??.is_empty());
    Ok(())
}
