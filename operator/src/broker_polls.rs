//! Asks every broker for its status once a minute: for `status.subscribers`, and for the conditions `AccessReady`, `DeliveryVerified` and, if brokers are
//! cut off, `Available`.
//!
//! The number of subscribers is written if the sum changed. If one broker of a channel does not answer, the sum is unknown and the last
//! one stays. So it is during a rolling upgrade from a broker that has no status endpoint yet: the number stands still until all brokers of
//! the channel are upgraded. The rest goes to [`BrokerReports`]; a channel whose reports have changed is reconciled.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use eventcast_crds::broker_status::{BrokerStatus, ChannelReport, DeliveryReport};
use eventcast_runtime::Chain;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, core::DynamicObject};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    broker_client::{BrokerClient, NoAnswer, running_since, status_url},
    broker_reports::{BrokerReports, CutOff, Problems, Reports},
    claims::Claims,
    leader::Fence,
    metrics::Metrics,
    names::SUBSCRIBERS_MANAGER,
    owner::{ChannelKey, OwnerKey, OwnerKind},
    placement::Place,
    reconcile::old_status,
    scope::Scope,
};

/// Interval of the polls. Each change of a status wakes every client that watches channels.
const POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Delay of the first poll. Short, because people look at a new channel.
const FIRST_POLL_DELAY: Duration = Duration::from_secs(10);
/// Brokers that are asked at the same time.
const MAX_CONCURRENT_REQUESTS: usize = 16;
/// A broker that has run for less may still be connecting.
const START_TIME: Duration = Duration::from_secs(15);

/// Polls all brokers until the future is dropped. The status of a channel of another operator is not written.
pub async fn run(
    fence: &Fence,
    metrics: &Metrics,
    scopes: &[Arc<Scope>],
    reports: &BrokerReports,
    claims: &Claims,
) {
    let client = BrokerClient::default();
    sleep(FIRST_POLL_DELAY).await;
    loop {
        let mut channels = BTreeSet::new();
        let members = channels_by_pool(scopes);
        let (mut answers, mut cut_off) = (Vec::new(), HashMap::new());
        for scope in scopes {
            for (owner, count, answered) in poll(&client, scope, &members).await {
                *cut_off.entry(owner).or_insert_with(CutOff::default) += count;
                answers.extend(answered);
            }
        }
        for scope in scopes {
            // A pool may serve channels of other scopes.
            write_counts(&answers, fence, metrics, scope, claims).await;
            let state = scope.channels.state();
            channels.extend(state.iter().map(|raw| key(raw)));
        }
        let of_channels =
            reports.replace(collect(&answers), &channels).into_iter().map(OwnerKey::channel);
        let changed: HashSet<_> = of_channels.chain(reports.replace_cut_off(cut_off)).collect();
        for owner in changed {
            for scope in scopes.iter().filter(|scope| scope.covers(&owner.namespace)) {
                scope.request(&owner).await;
            }
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The answer of one broker about a channel or a pool. `None` if it does not answer, has no status endpoint, or does not serve the channel.
type Answer = (OwnerKey, Option<Report>);

/// What one broker says about a channel.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    subscribers: i64,
    problems: Problems,
    delivery: Option<DeliveryReport>,
}

/// The channels of each pool.
type ChannelsByPool = HashMap<OwnerKey, Vec<ChannelKey>>;

fn channels_by_pool(scopes: &[Arc<Scope>]) -> ChannelsByPool {
    let mut members = ChannelsByPool::new();
    for raw in scopes.iter().flat_map(|scope| scope.channels.state()) {
        if raw.data.pointer("/status/pool").is_none() {
            continue;
        }
        let channel = key(&raw);
        if let Place::Pool(pool) = Place::new(old_status(&raw).pool.as_ref(), &channel.0) {
            members.entry(pool).or_default().push(channel);
        }
    }
    members
}

/// Asks all brokers of a scope. Returns for each its owner, whether it is cut off, and what it answers.
async fn poll(
    client: &BrokerClient,
    scope: &Scope,
    members: &ChannelsByPool,
) -> Vec<(OwnerKey, CutOff, Vec<Answer>)> {
    let now = Timestamp::now();
    let brokers: Vec<_> = scope.pods.state().iter().filter_map(|pod| endpoint(pod, now)).collect();
    let requests = stream::iter(brokers).map(|Endpoint { owner, url, has_started }| async move {
        // A broker on a busy node may miss the time limit once.
        let answer = match client.ask(&url).await {
            Err(NoAnswer) => client.ask(&url).await,
            answer => answer,
        };
        let cut_off = match &answer {
            // Older than the status endpoint.
            Ok(None) => CutOff::default(),
            _ if !has_started => CutOff::default(),
            answer => CutOff::of(answer.as_ref().ok().and_then(Option::as_ref)),
        };
        let status = answer.unwrap_or_default();
        let answers = match members.get(&owner) {
            _ if owner.kind == OwnerKind::Channel => {
                let name = owner.to_string();
                let report = status.as_ref().and_then(|s| report(s, s.channel(&name)?));
                vec![(owner.clone(), report)]
            }
            channels => {
                of_pool(owner.clone(), status.as_ref(), channels.map_or(&[], Vec::as_slice))
            }
        };
        (owner, cut_off, answers)
    });
    requests.buffer_unordered(MAX_CONCURRENT_REQUESTS).collect().await
}

/// What a broker of a pool says about the pool and its channels.
fn of_pool(pool: OwnerKey, status: Option<&BrokerStatus>, channels: &[ChannelKey]) -> Vec<Answer> {
    let reports = status.iter().flat_map(|status| &status.channels);
    let reports: HashMap<_, _> = reports.map(|report| (&*report.channel, report)).collect();
    let total = status.and_then(|status| {
        let subscribers = i64::try_from(status.streams?).ok()?;
        Some(Report { subscribers, problems: Problems::new(), delivery: None })
    });
    let of_channel = |channel: &ChannelKey| {
        let name = format!("{}/{}", channel.0, channel.1);
        let found = status.and_then(|status| report(status, reports.get(&*name)?));
        (OwnerKey::channel(channel.clone()), found)
    };
    std::iter::once((pool, total)).chain(channels.iter().map(of_channel)).collect()
}

fn report(status: &BrokerStatus, report: &ChannelReport) -> Option<Report> {
    let of_process = status.certificate.iter().chain(&status.client_authorities);
    Some(Report {
        subscribers: i64::try_from(report.subscribers).ok()?,
        problems: report.access.iter().chain(of_process).cloned().collect(),
        delivery: report.delivery.clone(),
    })
}

/// What the brokers of each channel report together, if at least one has answered.
fn collect(answers: &[Answer]) -> HashMap<ChannelKey, Reports> {
    let mut all: HashMap<ChannelKey, Reports> = HashMap::new();
    for (owner, report) in answers {
        if let Some(report) = report
            && owner.kind == OwnerKind::Channel
        {
            let channel = (owner.namespace.clone(), owner.name.clone());
            let reports = all.entry(channel).or_default();
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
    claims: &Claims,
) {
    let mut sums: HashMap<&OwnerKey, Option<i64>> = HashMap::new();
    for (owner, report) in answers {
        let sum = sums.entry(owner).or_insert(Some(0));
        *sum = sum.zip(report.as_ref()).map(|(sum, report)| sum + report.subscribers);
    }
    for (kind, raw) in scope.owners() {
        let owner = OwnerKey::of(kind, &raw);
        let Some(sum) = sums.get(&owner).copied().unwrap_or(Some(0)) else { continue };
        let written = raw.data.pointer("/status/subscribers").and_then(serde_json::Value::as_i64);
        // No status is written for a new object without subscribers.
        if written.unwrap_or(0) == sum || fence.check().is_err() || is_foreign(&raw, claims) {
            continue;
        }
        let status = json!({"subscribers": sum});
        match scope.apply_status(kind, &raw, SUBSCRIBERS_MANAGER, &status).await {
            Ok(true) => metrics.wrote(kind.as_str(), "subscribers"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(channel = %owner, error = %Chain(&error), "cannot write status.subscribers")
            }
        }
    }
}

fn is_foreign(raw: &DynamicObject, claims: &Claims) -> bool {
    claims.other(&raw.metadata, old_status(raw).operator.as_ref()).is_some()
}

fn key(raw: &DynamicObject) -> ChannelKey {
    (raw.namespace().unwrap_or_default(), raw.name_any())
}

/// A running broker.
struct Endpoint {
    owner: OwnerKey,
    /// Of its status.
    url: String,
    /// Whether it had the time to connect.
    has_started: bool,
}

fn endpoint(pod: &Pod, now: Timestamp) -> Option<Endpoint> {
    let runs_for = |since| Duration::try_from(now.duration_since(since)).unwrap_or_default();
    let has_started = running_since(pod).is_some_and(|since| runs_for(since) >= START_TIME);
    Some(Endpoint { owner: OwnerKey::of_labels(pod)?, url: status_url(pod)?, has_started })
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
        let request = async {
            let status = client.status(&url).await?;
            report(&status, status.channel("ns/demo")?)
        };
        tokio::join!(request, serve).0
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

    #[test]
    fn a_broker_of_a_pool_reports_about_all_its_channels() {
        let pool = OwnerKey { kind: OwnerKind::Pool, namespace: "ns".into(), name: "p".into() };
        let key = |name: &str| ("ns".to_owned(), name.to_owned());
        let channels = [key("a"), key("b")];
        let status = BrokerStatus {
            streams: Some(5),
            channels: vec![ChannelReport {
                channel: "ns/a".into(),
                subscribers: 3,
                ..ChannelReport::default()
            }],
            ..BrokerStatus::default()
        };
        let counts = |status: Option<&BrokerStatus>| {
            let answers = of_pool(pool.clone(), status, &channels);
            let count = |(owner, report): (OwnerKey, Option<Report>)| {
                (owner.name, report.map(|report| report.subscribers))
            };
            answers.into_iter().map(count).collect::<Vec<_>>()
        };
        let of = |name: &str, count| (name.to_owned(), count);
        let expected = [of("p", Some(5)), of("a", Some(3)), of("b", None)];
        assert_eq!(counts(Some(&status)), expected);
        assert_eq!(counts(None), [of("p", None), of("a", None), of("b", None)]);
    }

    #[tokio::test]
    async fn problems_of_a_channel_and_of_the_certificate_are_collected_once() {
        let text = r#"{"version":"1.0.0",
            "channels":[{"channel":"ns/demo","subscribers":0,"catchingUp":0,"live":true,
                "access":[{"what":"issuer a","reason":"KeysStale","detail":"d"}]}],
            "certificate":{"what":"certificate","reason":"FromTheFuture","detail":"d"}}"#;
        let key = ("ns".to_owned(), "demo".to_owned());
        let silent = OwnerKey::channel(("ns".to_owned(), "silent".to_owned()));
        let mut answers = vec![(silent, None)];
        for _ in 0..2 {
            answers.push((OwnerKey::channel(key.clone()), asked("200 OK", text).await));
        }
        let reports = collect(&answers);
        let found: Vec<_> =
            reports[&key].problems.iter().map(|p| (&*p.what, p.reason.as_str())).collect();
        assert_eq!(found, [("certificate", "Unknown"), ("issuer a", "KeysStale")]);
        assert_eq!(reports.len(), 1, "a broker that does not answer reports nothing");
    }
}
