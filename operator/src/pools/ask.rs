//! Asks the ready brokers of a pool which channels they serve.

use std::{collections::HashMap, sync::Arc};

use eventcast_crds::broker_status::{BrokerStatus, ChannelReport};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    broker_client::{BrokerClient, status_url},
    owner::ChannelKey,
    pool_views::Served,
};

/// Brokers that are asked at the same time. An answer with ten thousand channels takes a megabyte.
const MAX_CONCURRENT_REQUESTS: usize = 8;

/// What each ready broker says. `None` for one that does not answer.
pub(super) async fn ask(
    client: &BrokerClient,
    pods: &[Arc<Pod>],
) -> Vec<Option<HashMap<ChannelKey, Served>>> {
    let ready = pods.iter().filter(|pod| is_ready(pod));
    // In the order of their names, so that equal answers compare equal.
    let mut ready: Vec<_> = ready.collect();
    ready.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let urls: Vec<_> = ready.iter().map(|pod| status_url(pod)).collect();
    let answers = stream::iter(urls).map(|url| async move {
        let status = client.status(&url?).await?;
        Some(served(status))
    });
    answers.buffered(MAX_CONCURRENT_REQUESTS).collect().await
}

fn served(status: BrokerStatus) -> HashMap<ChannelKey, Served> {
    let of = |report: ChannelReport| {
        let (namespace, name) = report.channel.split_once('/')?;
        let ChannelReport { generation, live, problem, .. } = report;
        Some(((namespace.to_owned(), name.to_owned()), Served { generation, live, problem }))
    };
    status.channels.into_iter().filter_map(of).collect()
}

/// Whether clients can be sent to the broker of a pod.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready =
        conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    is_ready && pod.metadata.deletion_timestamp.is_none()
}
