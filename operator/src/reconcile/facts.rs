//! The facts for the status of a channel: from the caches, and from what brokers report.

use eventcast_crds::channel::status::{EventChannelStatus, StreamStatus};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;

use super::Context;
use crate::{
    channel::Channel,
    kind::Kind,
    observe::{self, access::AccessFacts},
    rollouts::State,
    status::{ConditionState, Delivery, Facts, OptionalCondition, reasons},
};

/// The condition `AccessReady`. `shared_state` is why the stream of what brokers share is not there.
pub(super) fn access_ready(
    channel: &Channel,
    ctx: &Context,
    shared_state: Option<&ConditionState>,
) -> Option<ConditionState> {
    let key = channel.key();
    let reports = ctx.broker_reports.of(&key);
    let review_failure = ctx.broker_reports.review_failure();
    let facts = AccessFacts {
        reported: reports.as_ref().map(|reports| &reports.problems),
        review_failure: review_failure.as_deref(),
        shared_state,
    };
    observe::access::ready(channel, facts)
}

/// What delivery probes have found.
fn delivery(channel: &Channel, ctx: &Context, old: &EventChannelStatus) -> Delivery {
    let key = channel.key();
    let reports = ctx.broker_reports.of(&key);
    observe::delivery::delivery(channel, reports.as_ref().map(|r| &r.delivery), old)
}

/// Host name or address of the load balancer of the channel's Service, if it has one.
pub(super) fn load_balancer(channel: &Channel, ctx: &Context) -> Option<String> {
    let service = ctx.scope.object(Kind::Service, &channel.namespace, &channel.object_name())?;
    observe::load_balancer(&parse_object::<Service>(&service)?)
}

/// Number of brokers that the operator wants for a channel with the status `old`. `None`: another autoscaler owns it.
pub(super) fn wanted_replicas(
    channel: &Channel,
    ctx: &Context,
    old: &EventChannelStatus,
) -> Option<i32> {
    let deployment = ctx.scope.object(Kind::Deployment, &channel.namespace, &channel.object_name());
    let live = deployment.and_then(|d| d.data["spec"]["replicas"].as_i64());
    let live = live.and_then(|replicas| i32::try_from(replicas).ok());
    observe::scaling::wanted_replicas(channel, &ctx.decision(channel), old, live)
}

/// The condition `UpToDate`.
fn up_to_date(channel: &Channel, ctx: &Context, deployment: Option<&Deployment>) -> ConditionState {
    let key = channel.key();
    let is_rolling = deployment.is_some_and(observe::is_rolling);
    let state = if is_rolling { State::RollingOut } else { State::UpToDate };
    let state = ctx.fleet.hindered(&key).unwrap_or(state);
    ConditionState {
        status: Some(state.status()),
        reason: state.reason(),
        message: state.message(&key),
        is_transient: false,
    }
}

/// Collects the facts for the status of a channel that had the status `old`.
pub(super) fn collect(
    channel: &Channel,
    ctx: &Context,
    old: &EventChannelStatus,
    accepted: ConditionState,
    stream_ready: ConditionState,
    access_ready: Option<ConditionState>,
    stream: Option<StreamStatus>,
) -> Facts {
    let name = channel.object_name();
    let object = |kind| ctx.scope.object(kind, &channel.namespace, &name);
    let deployment = object(Kind::Deployment).and_then(|o| parse_object::<Deployment>(&o));
    let pods = ctx.scope.pods_of(&channel.namespace, &channel.name);
    let pods = pods.iter().map(|pod| &**pod);
    let (brokers, mut available) =
        observe::brokers(channel, &ctx.settings, deployment.as_ref(), pods);
    if stream_ready.reason == reasons::NOT_OWNED && deployment.is_none() {
        available = ConditionState::waiting_for("a stream that belongs to this channel");
    }
    let load_balancer = load_balancer(channel, ctx);
    let decision = ctx.decision(channel);
    let domain = &ctx.settings.cluster_domain;
    Facts {
        accepted,
        stream_ready,
        available,
        exposed: observe::exposed(channel, ctx.scope.apis, object(Kind::HttpRoute).as_deref()),
        access_ready,
        delivery: delivery(channel, ctx, old),
        autoscaled: observe::scaling::autoscaled(channel, &decision),
        balanced: observe::scaling::balanced(channel, &decision),
        up_to_date: OptionalCondition::Known(up_to_date(channel, ctx, deployment.as_ref())),
        chosen_replicas: None,
        stream,
        brokers: Some(brokers),
        url: Some(observe::address::url(channel, domain, load_balancer.as_deref())),
        operator: Some(ctx.claim(old)),
        internal_url: Some(observe::address::internal_url(channel, domain)),
    }
}

/// A cached object with its type. `None` if it does not have that type, which the API server rules out.
fn parse_object<K: DeserializeOwned>(object: &DynamicObject) -> Option<K> {
    serde_json::to_value(object).and_then(serde_json::from_value).ok()
}
