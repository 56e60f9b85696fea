//! Real brokers of a pool, without a kubelet: they get the files of the ConfigMaps, and pods in the API server.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    broker::Broker, channel_folder::ChannelFolder, eventually, namespace::WAIT_TIMEOUT, pods,
};

/// Changes within this time reach the brokers together.
const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// The brokers of a pool.
pub struct PoolBrokers {
    /// At least one.
    pub brokers: Vec<Broker>,
    sync: JoinHandle<Result<()>>,
}

impl Drop for PoolBrokers {
    fn drop(&mut self) {
        self.sync.abort();
    }
}

impl PoolBrokers {
    /// Starts `count` brokers of the pool `pool` in `namespace`, with their pods, and makes the Deployment ready.
    ///
    /// # Errors
    /// When the pool gets no Deployment, or a broker does not start.
    pub async fn start(
        client: &Client,
        nats: &str,
        namespace: &str,
        pool: &str,
        count: usize,
    ) -> Result<Self> {
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
        let name = format!("{pool}-pool");
        let deployment = eventually("the pool has a Deployment", WAIT_TIMEOUT, || async {
            anyhow::Ok(deployments.get(&name).await?)
        })
        .await?;
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let label = format!("eventcast.dev/pool={pool}");
        let first = maps.list(&ListParams::default().labels(&label)).await?;
        let mut files = Files { folder: ChannelFolder::new(&[])?, known: BTreeMap::new() };
        files.update(first.items)?;
        let mut brokers = Vec::new();
        for _ in 0..count {
            let folder = files.folder.path().to_owned();
            let broker = Broker::start(nats, |config| {
                config.channels.clear();
                config.channels_folder = Some(folder);
                config.nats.create_streams = false;
                config.shutdown.drain_seconds = 1;
            });
            brokers.push(broker.await?);
        }
        let sync = tokio::spawn(files.follow(maps, label));
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        for (index, broker) in brokers.iter().enumerate() {
            create_pod(&pods, &deployment, &format!("{name}-{index}"), broker).await?;
        }
        let ready = pods::ready(deployment.metadata.generation, i32::try_from(count)?);
        let status = json!({"status": ready});
        deployments.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(Self { brokers, sync })
    }
}

/// Creates the ready pod of a broker.
async fn create_pod(
    api: &Api<Pod>,
    deployment: &Deployment,
    name: &str,
    broker: &Broker,
) -> Result<()> {
    let url = broker.admin_url("/");
    let port = url.trim_end_matches('/').rsplit(':').next().context("no port")?.parse::<u16>()?;
    let template = &deployment.spec.as_ref().context("no spec")?.template;
    let pod = pods::from_template(template, name, port)?;
    api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(120);
    let status = json!({"status": {
        "phase": "Running", "podIP": "127.0.0.1",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": format!("{since:.0}")}],
    }});
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}

/// The files of the channels, in a folder that all brokers read.
struct Files {
    folder: ChannelFolder,
    known: BTreeMap<String, String>,
}

impl Files {
    /// Writes changed files of the pool's ConfigMaps into the folder.
    fn update(&mut self, maps: Vec<ConfigMap>) -> Result<()> {
        let mut changed = BTreeMap::new();
        for (file, text) in maps.into_iter().flat_map(|map| map.data.unwrap_or_default()) {
            if file.starts_with("channels-") && self.known.get(&file) != Some(&text) {
                self.known.insert(file.clone(), text.clone());
                changed.insert(file, text);
            }
        }
        if changed.is_empty() { Ok(()) } else { self.folder.write_files(changed) }
    }

    /// Brings what changes, until the task is aborted.
    async fn follow(mut self, maps: Api<ConfigMap>, label: String) -> Result<()> {
        let changes = watcher(maps, watcher::Config::default().labels(&label))
            .default_backoff()
            .applied_objects()
            .filter_map(|map| async { map.ok() })
            .ready_chunks(64);
        let mut changes = std::pin::pin!(changes);
        while let Some(maps) = changes.next().await {
            self.update(maps)?;
            sleep(SYNC_INTERVAL).await;
        }
        Ok(())
    }
}
