//! Asks every broker for its status once a minute: for `status.subscribers`, and for the conditions `AccessReady` and `DeliveryVerified`.
//!
//! The number of subscribers is written if the sum changed. If one broker of a channel does not answer, the sum is unknown and the last
//! one stays. So it is during a rolling upgrade from a broker that has no status endpoint yet: the number stands still until all brokers of
//! the channel are upgraded. The rest goes to [`BrokerReports`]; a channel with news is reconciled.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::broker_status::DeliveryReport;
use eventcast_runtime::Chain;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, core::DynamicObject};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    broker_client::{BrokerClient, status_url},
    broker_reports::{BrokerReports, ChannelKey, Problems, Reports},
    claim::other_operator,
    leader::Fence,
    metrics::Metrics,
    names::{CHANNEL_LABEL, SUBSCRIBERS_MANAGER},
    reconcile::old_status,
    scope::Scope,
};

/// Interval of the visits. Each change of a status wakes every client that watches channels.
const VISIT_INTERVAL: Duration = Duration::from_secs(60);
/// Delay of the first visit. Short, because people look at a new channel.
const FIRST_VISIT_DELAY: Duration = Duration::from_secs(10);
/// Brokers that are asked at the same time.
const MAX_CONCURRENT_REQUESTS: usize = 16;
/// Visits until the future is dropped. `own` is the name of this operator: the status of a channel of another one is not written.
pub async fn run(
    fence: &Fence,
    metrics: &Metrics,
    scopes: &[Arc<Scope>],
    reports: &BrokerReports,
    own: &str,
) {
    let client = BrokerClient::default();
    sleep(FIRST_VISIT_DELAY).await;
    loop {
        let (mut news, mut channels) = (HashMap::new(), BTreeSet::new());
        for scope in scopes {
            let answers = visit(&client, scope).await;
            write_counts(&answers, fence, metrics, scope, own).await;
            news.extend(collect(&answers));
            let state = scope.channels.state();
            channels.extend(state.iter().map(|raw| key(raw)));
        }
        for (namespace, name) in reports.replace(news, &channels) {
            for scope in scopes.iter().filter(|scope| scope.covers(&namespace)) {
                scope.request(&namespace, &name).await;
            }
        }
        sleep(VISIT_INTERVAL).await;
    }
}

/// The answer of one broker of a channel. `None` if it does not answer, has no status endpoint, or does not serve the channel.
type Answer = (ChannelKey, Option<Report>);

/// What one broker says about a channel.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    subscribers: i64,
    problems: Problems,
    delivery: Option<DeliveryReport>,
}

/// Asks all brokers of a scope.
async fn visit(client: &BrokerClient, scope: &Scope) -> Vec<Answer> {
    let brokers: Vec<_> = scope.pods.state().iter().filter_map(|pod| endpoint(pod)).collect();
    let requests = stream::iter(brokers).map(|(channel, url)| async move {
        let report = request_report(client, &url, &format!("{}/{}", channel.0, channel.1)).await;
        (channel, report)
    });
    requests.buffer_unordered(MAX_CONCURRENT_REQUESTS).collect().await
}

/// What the brokers of each channel report together, if at least one has answered.
fn collect(answers: &[Answer]) -> HashMap<ChannelKey, Reports> {
    let mut all: HashMap<ChannelKey, Reports> = HashMap::new();
    for (channel, report) in answers {
        if let Some(report) = report {
            let reports = all.entry(channel.clone()).or_default();
            reports.problems.extend(report.problems.iter().cloned());
            report.delivery.iter().for_each(|delivery| reports.delivery.add(delivery));
        }
    }
    all
}

async fn write_counts(
    answers: &[Answer],
    fence: &Fence,
    metrics: &Metrics,
    scope: &Scope,
    own: &str,
) {
    let mut sums: BTreeMap<&ChannelKey, Option<i64>> = BTreeMap::new();
    for (channel, report) in answers {
        let sum = sums.entry(channel).or_insert(Some(0));
        *sum = sum.zip(report.as_ref()).map(|(sum, report)| sum + report.subscribers);
    }
    for raw in scope.channels.state() {
        let key = key(&raw);
        let Some(sum) = sums.get(&key).copied().unwrap_or(Some(0)) else { continue };
        let written = raw.data.pointer("/status/subscribers").and_then(serde_json::Value::as_i64);
        // No status is written for a new channel without subscribers.
        if written.unwrap_or(0) == sum || fence.check().is_err() || is_foreign(&raw, own) {
            continue;
        }
        match scope.apply_status(&raw, SUBSCRIBERS_MANAGER, &json!({"subscribers": sum})).await {
            Ok(true) => metrics.wrote("EventChannel", "subscribers"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(channel = key.1, error = %Chain(&error), "cannot write status.subscribers")
            }
        }
    }
}

fn is_foreign(raw: &DynamicObject, own: &str) -> bool {
    other_operator(&raw.metadata, &old_status(raw), own, Timestamp::now()).is_some()
}

fn key(raw: &DynamicObject) -> ChannelKey {
    (raw.namespace().unwrap_or_default(), raw.name_any())
}

/// The channel of a running broker (namespace and name), and the URL of its status.
fn endpoint(pod: &Pod) -> Option<(ChannelKey, String)> {
    let channel = pod.labels().get(CHANNEL_LABEL)?.clone();
    Some(((pod.namespace()?, channel), status_url(pod)?))
}

/// What the broker at `url` says about `channel`.
async fn request_report(client: &BrokerClient, url: &str, channel: &str) -> Option<Report> {
    let status = client.status(url).await?;
    let report = status.channel(channel)?;
    Some(Report {
        subscribers: i64::try_from(report.subscribers).ok()?,
        problems: report
            .access
            .iter()
            .chain(&status.certificate)
            .chain(&status.client_authorities)
            .cloned()
            .collect(),
        delivery: report.delivery.clone(),
    })
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::PATH;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Asks a broker that answers with `status` and `body`.
    async fn asked(status: &str, body: &str) -> Option<Report> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let length = body.len();
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = socket.read(&mut request).await.unwrap();
            let line = format!("GET {PATH} HTTP/1.1\r\n");
            assert!(request[..length].starts_with(line.as_bytes()));
            socket.write_all(response.as_bytes()).await.unwrap();
        };
        let client = BrokerClient::default();
        tokio::join!(request_report(&client, &url, "ns/demo"), serve).0
    }

    #[tokio::test]
    async fn only_a_report_about_the_channel_counts() {
        let report = |channel: &str| {
            format!(
                r#"{{"version":"1.0.0","channels":[{{"channel":"{channel}","subscribers":3,"catchingUp":0,"live":true}}]}}"#
            )
        };
        let expected = Report { subscribers: 3, problems: Problems::new(), delivery: None };
        assert_eq!(asked("200 OK", &report("ns/demo")).await, Some(expected));
        assert_eq!(asked("200 OK", &report("ns/other")).await, None);
        assert_eq!(asked("404 Not Found", "/livez, /readyz and /metrics are here\n").await, None);
        assert_eq!(asked("503 Service Unavailable", &report("ns/demo")).await, None);
        assert_eq!(asked("200 OK", "no JSON").await, None);
    }

    #[tokio::test]
    async fn problems_of_a_channel_and_of_the_certificate_are_collected_once() {
        let text = r#"{"version":"1.0.0",
            "channels":[{"channel":"ns/demo","subscribers":0,"catchingUp":0,"live":true,
                "access":[{"what":"issuer a","reason":"KeysStale","detail":"d"}]}],
            "certificate":{"what":"certificate","reason":"FromTheFuture","detail":"d"}}"#;
        let key = ("ns".to_owned(), "demo".to_owned());
        let mut answers = vec![(("ns".to_owned(), "silent".to_owned()), None)];
        for _ in 0..2 {
            answers.push((key.clone(), asked("200 OK", text).await));
        }
        let reports = collect(&answers);
        let found: Vec<_> =
            reports[&key].problems.iter().map(|p| (&*p.what, p.reason.as_str())).collect();
        assert_eq!(found, [("certificate", "Unknown"), ("issuer a", "KeysStale")]);
        assert_eq!(reports.len(), 1, "a broker that does not answer reports nothing");
    }
}
