//! CRD and operator of different versions: reported, and harmless.

use anyhow::{Result, ensure};
use eventcast_crds::{channel::EventChannel, crd::Crd};
use eventcast_tests::{
    eventually, init_tracing,
    kube::{ApiServer, temp_namespace},
    namespace::{WAIT_TIMEOUT, install_crd},
    nats::NatsServer,
    operator::{Operator, Options},
};
use k8s_openapi::{
    api::core::v1::Service,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
    core::DynamicObject,
    discovery::ApiResource,
};
use serde_json::{Value, json};

const SCHEMA: &str = "/spec/versions/0/schema/openAPIV3Schema/properties";

/// Gives the server a definition that was changed.
async fn serve(client: &Client, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut value = serde_json::to_value(Crd::EventChannel.definition()?)?;
    change(value.pointer_mut(SCHEMA).expect("the schema has properties"));
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("a-person").force();
    api.patch("eventchannels.eventcast.dev", &params, &Patch::Apply(value)).await?;
    Ok(())
}

async fn condition(client: &Client, namespace: &str, name: &str, reason: &str) -> Result<String> {
    let resource = ApiResource::erase::<EventChannel>(&());
    let raw: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    eventually(&format!("Accepted with {reason}"), WAIT_TIMEOUT * 5, || async {
        let object = raw.get(name).await?;
        let conditions = object.data.pointer("/status/conditions").cloned().unwrap_or_default();
        let found =
            conditions.as_array().into_iter().flatten().find(|c| c["type"] == "Accepted").cloned();
        let found = found.unwrap_or_default();
        ensure!(found["reason"] == reason, "it is {found}");
        anyhow::Ok(found["message"].as_str().unwrap_or_default().to_owned())
    })
    .await
}

async fn create(client: &Client, namespace: &str, name: &str, spec: Value) -> Result<()> {
    let resource = ApiResource::erase::<EventChannel>(&());
    let raw: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = json!({"apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "metadata": {"name": name}, "spec": spec});
    raw.create(&Default::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_lives_with_older_and_newer_definitions_and_says_so() -> Result<()> {
    init_tracing();
    let server = ApiServer::start().await?;
    install_crd(&server).await?;
    let client = server.client().await?;
    let namespace = temp_namespace(&client).await?;
    let nats = NatsServer::start().await?;
    // A newer one: fields that this operator does not know, and a value that it cannot read.
    serve(&client, |properties| {
        properties["spec"]["properties"]["future"] = json!({"type": "string"});
        let heartbeat =
            &mut properties["spec"]["properties"]["delivery"]["properties"]["heartbeatSeconds"];
        *heartbeat = json!({"x-kubernetes-int-or-string": true});
    })
    .await?;
    eventually("the newer definition is served", WAIT_TIMEOUT, || {
        create(&client, &namespace, "newer", json!({"future": "x"}))
    })
    .await?;
    create(&client, &namespace, "unreadable", json!({"delivery": {"heartbeatSeconds": "soon"}}))
        .await?;
    create(&client, &namespace, "plain", json!({})).await?;
    let options = Options {
        more: vec!["--resync-seconds=2".into()],
        ..Options::of_all_namespaces(server.admin_kubeconfig(), &nats, &namespace)
    };
    let mut operator = Operator::start(options).await?;
    let message = condition(&client, &namespace, "newer", "UnknownFields").await?;
    ensure!(
        message.contains("spec.future") && message.contains("upgrade the operator"),
        "{message}"
    );
    let message = condition(&client, &namespace, "unreadable", "Unreadable").await?;
    ensure!(message.contains("spec.delivery.heartbeatSeconds"), "{message}");
    condition(&client, &namespace, "plain", "Accepted").await?;
    eventually("the difference is measured", WAIT_TIMEOUT, || async {
        ensure!(operator.metric("eventcast_operator_schema_differences", &[]).await? > 0.0, "none");
        anyhow::Ok(())
    })
    .await?;

    // An older one: the status cannot be written as this operator would.
    operator.kill9()?;
    serve(&client, |properties| {
        properties["status"]["properties"].as_object_mut().expect("a status").remove("url");
        let spec = properties["spec"].as_object_mut().expect("a spec");
        spec["properties"].as_object_mut().expect("its fields").remove("exposure");
        spec.remove("x-kubernetes-validations"); // they name it
    })
    .await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.delete("brokerpools.eventcast.dev", &DeleteParams::default()).await?;
    operator.relaunch()?;
    operator.leads(WAIT_TIMEOUT * 3).await?;
    let message = condition(&client, &namespace, "plain", "CrdOlder").await?;
    for words in ["status.url", "BrokerPool", "apply the CRD"] {
        ensure!(message.contains(words), "{message}");
    }
    eventually("new channels are served", WAIT_TIMEOUT, || {
        create(&client, &namespace, "later", json!({}))
    })
    .await?;
    condition(&client, &namespace, "later", "CrdOlder").await?;
    let services: Api<Service> = Api::namespaced(client.clone(), &namespace);
    eventually("its objects are made", WAIT_TIMEOUT, || async {
        services.get("later-broker").await.map(|_| ())
    })
    .await?;

    // The upgrade of the definition: what was there stays, and all is well.
    install_crd(&server).await?;
    operator.kill9()?;
    operator.relaunch()?;
    operator.leads(WAIT_TIMEOUT * 3).await?;
    for name in ["plain", "later", "newer"] {
        condition(&client, &namespace, name, "Accepted").await?;
    }
    Ok(())
}
