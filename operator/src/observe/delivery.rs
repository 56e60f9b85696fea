//! The delivery probe of a channel, and the condition `DeliveryVerified`. Pure.

use eventcast_crds::{
    broker_status::{DeliveryReason, DeliveryReport},
    channel::status::{DeliveryStatus, EventChannelStatus},
    config::Probe,
};

use super::address::Addresses;
use crate::{
    broker_reports::Deliveries,
    channel::Channel,
    status::{ConditionState, Delivery, reasons},
};

/// How the brokers probe the delivery; `None`: they do not. If the spec does not say, only URLs for clients outside of the cluster are probed.
#[must_use]
pub fn probe(channel: &Channel, addresses: &Addresses) -> Option<Probe> {
    let exposure = &channel.spec.exposure;
    let is_requested = channel.probe_request.is_some();
    let base = match (exposure.probe.enabled, &addresses.public) {
        (Some(false), _) => return None,
        (_, Some(base)) => base,
        (Some(true), None) => &addresses.inside,
        (None, None) if is_requested => &addresses.inside,
        (None, None) => return None,
    };
    let class = exposure.ingress.as_ref().and_then(|ingress| ingress.class_name.clone());
    Some(Probe {
        url: format!("{base}{}/events", channel.path()),
        interval_seconds: exposure.probe.interval_seconds,
        stream_seconds: exposure.probe.stream_seconds,
        proxy: class,
        request: channel.probe_request.as_ref().map(|text| text.chars().take(253).collect()),
    })
}

/// As [`probe`], for a channel that a pool serves. `addresses` are those of the channel, or of the pool where it has none. By default only what the channel itself
/// exposes is probed, because all others have the same way as their neighbours.
#[must_use]
pub fn probe_in_pool(channel: &Channel, addresses: &Addresses) -> Option<Probe> {
    let exposure = &channel.spec.exposure;
    let is_exposed = exposure.ingress.is_some() || exposure.gateway.is_some();
    let is_wanted = exposure.probe.enabled == Some(true) || channel.probe_request.is_some();
    (is_exposed || is_wanted).then(|| probe(channel, addresses)).flatten()
}

/// What is known about the delivery. `reports`: what the brokers have found; `None` if none has answered yet.
#[must_use]
pub fn delivery(
    channel: &Channel,
    reports: Option<&Deliveries>,
    old: &EventChannelStatus,
) -> Delivery {
    let Some(Probe { url, .. }) = channel.probe() else { return Delivery::NotProbed };
    match reports.and_then(|reports| reports.at(url)) {
        Some(report) => Delivery::Known(condition(report), Some(status(report))),
        None if old.delivery.as_ref().is_some_and(|known| known.url == *url) => Delivery::Unchanged,
        None => {
            let message = format!("no broker has probed {url} yet: it takes a minute or two");
            let state = ConditionState {
                status: None,
                reason: reasons::NOT_PROBED,
                message,
                is_transient: false,
            };
            Delivery::Known(state, None)
        }
    }
}

fn condition(report: &DeliveryReport) -> ConditionState {
    let DeliveryReport { url, http_version, .. } = report;
    let Some(worst) = report.problems.first() else {
        let version = http_version.as_deref().unwrap_or("HTTP");
        let message = format!("events reach clients through {url} over {version}");
        return ConditionState::met(reasons::DELIVERY_VERIFIED, message);
    };
    let details = report.problems.iter().map(|problem| {
        if problem.reason == worst.reason {
            problem.detail.clone()
        } else {
            format!("{}: {}", problem.reason.as_str(), problem.detail)
        }
    });
    let message = format!("{url}: {}", details.collect::<Vec<_>>().join("; "));
    ConditionState::failed(DeliveryReason::as_str(worst.reason), message)
}

fn status(report: &DeliveryReport) -> DeliveryStatus {
    let number = |ms: Option<u64>| ms.and_then(|ms| i64::try_from(ms).ok());
    DeliveryStatus {
        url: report.url.clone(),
        http_version: report.http_version.clone(),
        first_byte_milliseconds: number(report.first_byte_ms),
        delay_milliseconds: number(report.delay_ms),
    }
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::DeliveryProblem;

    use super::*;
    use crate::channel::fixture::channel;

    fn addresses(channel: &Channel, load_balancer: Option<&str>) -> Addresses {
        let workload = &channel.workload;
        Addresses::new(workload, &workload.exposure, "k8s.example", load_balancer)
    }

    fn probed(spec: &str, load_balancer: Option<&str>) -> Option<String> {
        let (channel, _) = channel(&format!("spec: {{exposure: {{{spec}}}}}"));
        probe(&channel, &addresses(&channel, load_balancer)).map(|probe| probe.url)
    }

    #[test]
    fn urls_of_clients_outside_are_probed_unless_the_spec_says_otherwise() {
        let path = "/channels/shop/orders/events";
        let inside = format!("http://orders-broker.shop.svc.k8s.example{path}");
        assert_eq!(probed("", None), None);
        assert_eq!(probed("probe: {enabled: true}", None), Some(inside));
        let ingress = "ingress: {host: a.example}";
        assert_eq!(probed(ingress, None), Some(format!("http://a.example{path}")));
        assert_eq!(probed("", Some("192.0.2.1")), Some(format!("http://192.0.2.1{path}")));
        assert_eq!(probed(&format!("{ingress}, probe: {{enabled: false}}"), None), None);
        assert_eq!(probed("ingress: {host: '*.example'}", None), None, "no client can open it");
    }

    #[test]
    fn the_condition_names_the_worst_problem_and_keeps_what_is_known() {
        let (plain, _) = channel("spec: {exposure: {ingress: {host: a.example}}}");
        let probe = probe(&plain, &addresses(&plain, None));
        let url = probe.clone().unwrap().url;
        let mut channel = plain.clone();
        channel.set_probe(probe);
        let nothing = EventChannelStatus::default();
        assert_eq!(delivery(&plain, None, &nothing), Delivery::NotProbed);
        let Delivery::Known(waiting, None) = delivery(&channel, None, &nothing) else { panic!() };
        assert_eq!((waiting.status, waiting.reason), (None, "NotProbed"));

        let mut reports = Deliveries::default();
        let problem = |reason, detail: &str| DeliveryProblem { reason, detail: detail.into() };
        let good = DeliveryReport {
            url: url.clone(),
            http_version: Some("HTTP/2".into()),
            delay_ms: Some(3),
            ..DeliveryReport::default()
        };
        reports.add(&good);
        let Delivery::Known(state, measured) = delivery(&channel, Some(&reports), &nothing) else {
            panic!()
        };
        assert_eq!((state.status, state.reason), (Some(true), "DeliveryVerified"));
        assert!(state.message.contains("HTTP/2"), "{}", state.message);
        let known = EventChannelStatus { delivery: measured, ..nothing.clone() };
        assert_eq!(delivery(&channel, None, &known), Delivery::Unchanged);
        assert_eq!(delivery(&channel, Some(&Deliveries::default()), &known), Delivery::Unchanged);

        reports.add(&DeliveryReport {
            problems: vec![
                problem(DeliveryReason::Buffered, "b"),
                problem(DeliveryReason::BodyTooLarge, "c"),
            ],
            ..good
        });
        let Delivery::Known(state, _) = delivery(&channel, Some(&reports), &known) else {
            panic!()
        };
        assert_eq!((state.status, state.reason), (Some(false), "Buffered"));
        assert_eq!(state.message, format!("{url}: b; BodyTooLarge: c"));
    }
}
