//! Real brokers of a pool, without a kubelet: the test brings the files of the ConfigMaps to them, and tells the API server of their pods.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use eventcast_tests::{
    broker::Broker,
    channel_folder::ChannelFolder,
    namespace::{TestNamespace, WAIT_TIMEOUT},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

/// How often the files are compared with the ConfigMaps.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// A broker of a pool.
pub(crate) struct PoolBroker {
    pub(crate) broker: Broker,
    sync: JoinHandle<Result<()>>,
}

impl Drop for PoolBroker {
    fn drop(&mut self) {
        self.sync.abort();
    }
}

impl PoolBroker {
    /// Starts the only broker of the pool `pool` in `namespace`, with its pod, and makes the Deployment ready.
    pub(crate) async fn start(ns: &TestNamespace, namespace: &str, pool: &str) -> Result<Self> {
        let client = ns.client.clone();
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let name = format!("{pool}-pool");
        let deployment =
            eventcast_tests::eventually("the pool has a Deployment", WAIT_TIMEOUT, || async {
                anyhow::Ok(deployments.get(&name).await?)
            })
            .await?;
        let mut folder = ChannelFolder::new(&[])?;
        sync(&client, namespace, pool, &mut folder, &mut BTreeMap::new()).await?;
        let path = folder.path().to_owned();
        let broker = Broker::start(&ns.nats.url(), |config| {
            config.channels.clear();
            config.channels_folder = Some(path);
            config.shutdown.drain_seconds = 1;
        })
        .await?;
        let (of_pool, of_namespace, api) = (pool.to_owned(), namespace.to_owned(), client.clone());
        let sync = tokio::spawn(async move {
            let mut known = BTreeMap::new();
            loop {
                sync(&api, &of_namespace, &of_pool, &mut folder, &mut known).await?;
                sleep(SYNC_INTERVAL).await;
            }
        });
        let url = broker.admin_url("/");
        let port =
            url.trim_end_matches('/').rsplit(':').next().context("no port")?.parse::<u16>()?;
        let template = deployment.spec.context("no spec")?.template;
        let mut pod = json!({"metadata": template.metadata, "spec": template.spec});
        pod["metadata"]["name"] = json!(format!("{name}-0"));
        for entry in pod["spec"]["containers"][0]["ports"].as_array_mut().context("no ports")? {
            if entry["name"] == "admin" {
                entry["containerPort"] = port.into();
            }
        }
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(120);
        let status = json!({"status": {
            "phase": "Running", "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": format!("{since:.0}")}],
        }});
        let params = PatchParams::default();
        pods.patch_status(&format!("{name}-0"), &params, &Patch::Merge(status)).await?;
        let status = json!({"status": {
            "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
            "observedGeneration": deployment.metadata.generation,
        }});
        deployments.patch_status(&name, &params, &Patch::Merge(status)).await?;
        Ok(Self { broker, sync })
    }
}

/// Brings changed files of the pool's ConfigMaps into the folder.
async fn sync(
    client: &Client,
    namespace: &str,
    pool: &str,
    folder: &mut ChannelFolder,
    known: &mut BTreeMap<String, String>,
) -> Result<()> {
    let params = ListParams::default().labels(&format!("eventcast.dev/pool={pool}"));
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace).list(&params).await?;
    for (file, text) in maps.into_iter().flat_map(|map| map.data.unwrap_or_default()) {
        if file.starts_with("channels-") && known.get(&file) != Some(&text) {
            folder.write_file(&file, &text)?;
            known.insert(file, text);
        }
    }
    Ok(())
}
