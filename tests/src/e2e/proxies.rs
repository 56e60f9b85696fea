//! Proxies inside of the cluster. Each serves the Ingress or HTTPRoute that the operator has made for a channel: its configuration is that of
//! `docs/proxies`, with what this object says about the settings.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Channel, Cluster, Machine, WAIT_TIMEOUT};
use crate::{
    eventually,
    proxy::{Controller, Place},
    tls::{self, Issued},
};

/// Where a pod of a proxy has its configuration and its certificate.
const FOLDER: &str = "/etc/proxy";
/// Where it may write.
const WORK: &str = "/work";
/// The port of the pods, and for clients outside of the cluster of the Service. Brokers use 443, as URLs do.
const PORT: u16 = 8443;
/// What a Gateway API has of interest here. A cluster that has the real one keeps it.
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";

/// Proxies in a namespace of their own.
#[derive(Debug)]
pub struct Proxies<'a> {
    cluster: &'a Cluster,
    namespace: String,
}

impl<'a> Proxies<'a> {
    /// Loads their images, and makes the namespace. HTTPRoutes can be made from then on, once the operator has noticed.
    ///
    /// # Errors
    /// When there are no images.
    pub async fn new(cluster: &'a Cluster, machine: &Machine) -> Result<Self> {
        machine.load_proxies().await?;
        if !cluster.has("default", &format!("crd/{ROUTES}")).await? {
            cluster.apply("default", &routes().to_string()).await?;
        }
        let namespace = Channel::in_new_namespace(cluster, "proxies").await?.namespace;
        Ok(Self { cluster, namespace })
    }

    /// The host of the proxy with this name: the cluster's DNS knows it.
    #[must_use]
    pub fn host(&self, name: &str) -> String {
        format!("{name}.{}.svc.cluster.local", self.namespace)
    }

    /// Starts a proxy in front of a channel, as `controller` reads its object. Returns the URL of the channel's events for clients
    /// outside of the cluster.
    ///
    /// # Errors
    /// When there is no such object, or the proxy does not become ready with what it says.
    pub async fn serve(
        &self,
        name: &str,
        controller: Controller,
        channel: &Channel<'_>,
    ) -> Result<String> {
        let kind = if controller == Controller::EnvoyGateway { "httproute" } else { "ingress" };
        let what = format!("{kind}/demo-broker");
        let get = || channel.get(&what);
        let object = eventually("the operator makes the object", WAIT_TIMEOUT, get).await?;
        let brokers = address(&channel.get("service/demo-broker").await?)?;
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [
                {"name": "https", "port": 443, "targetPort": PORT},
                {"name": "outside", "port": PORT, "targetPort": PORT},
            ]},
        });
        self.cluster.apply(&self.namespace, &service.to_string()).await?;
        let own = address(&self.cluster.get(&self.namespace, &format!("service/{name}")).await?)?;

        let place = Place {
            address: &format!("0.0.0.0:{PORT}"),
            folder: Path::new(FOLDER),
            brokers: &[&format!("{brokers}:80")],
        };
        let proxy = controller.kind();
        let configuration = proxy.documented(controller.changes(&object)?, &place)?;
        let Issued { certificate, key, .. } = Issued::for_names(&[&self.host(name), &own])?;
        let mut files: serde_json::Map<_, _> = proxy
            .files(configuration)
            .into_iter()
            .map(|(name, text)| (name.to_owned(), Value::from(text)))
            .collect();
        files.insert("tls.pem".to_owned(), [certificate.as_str(), &key].concat().into());
        files.insert("tls.crt".to_owned(), certificate.into());
        files.insert("tls.key".to_owned(), key.into());
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": files,
        });
        let program = proxy.names().0;
        let arguments = proxy.arguments(Path::new(WORK), |file| format!("{FOLDER}/{file}"));
        for object in [secret, deployment(name, program, &arguments)] {
            self.cluster.apply(&self.namespace, &object.to_string()).await?;
        }
        let ready = ["rollout", "status", &format!("deployment/{name}"), "--timeout=120s"];
        if let Err(error) = self.kubectl(&ready).await {
            let log = self.kubectl(&["logs", &format!("deployment/{name}")]).await;
            return Err(error.context(log.unwrap_or_default()));
        }
        tls::register(&format!("{own}:{PORT}"));
        let namespace = &channel.namespace;
        Ok(format!("https://{own}:{PORT}/channels/{namespace}/demo/events"))
    }

    /// Deletes them.
    ///
    /// # Errors
    /// When they stay.
    pub async fn leave(self) -> Result<()> {
        let delete = ["delete", "deployment", "--all", "--cascade=foreground", "--timeout=60s"];
        self.kubectl(&delete).await?;
        self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]).await?;
        Ok(())
    }

    async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["-n", &self.namespace], arguments].concat()).await
    }
}

/// The address of a Service.
fn address(service: &Value) -> Result<String> {
    let address = service["spec"]["clusterIP"].as_str().context("a Service without an address")?;
    ensure!(address != "None", "a Service without an address");
    Ok(address.to_owned())
}

fn deployment(name: &str, program: &str, arguments: &[String]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [{
                        "name": program,
                        "image": format!("eventcast.test/{program}:1"),
                        "imagePullPolicy": "Never",
                        "args": arguments,
                        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                        "readinessProbe": {"httpGet": {"path": "/", "port": PORT, "scheme": "HTTPS"}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "files", "mountPath": FOLDER}, {"name": "work", "mountPath": WORK}],
                    }],
                    "volumes": [{"name": "files", "secret": {"secretName": name}}, {"name": "work", "emptyDir": {}}],
                },
            },
        },
    })
}

/// A definition of HTTPRoutes that takes any.
fn routes() -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": ROUTES,
            // an API group of Kubernetes itself wants that
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": "gateway.networking.k8s.io", "scope": "Namespaced",
            "names": {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any}}],
        },
    })
}
