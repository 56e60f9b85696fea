//! The facts for the status of a channel: from the caches, and from what brokers report.

use eventcast_crds::channel::{
    exposure::Exposure,
    status::{AutoscalingStatus, EventChannelStatus, StreamStatus},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::core::DynamicObject;
use serde::de::DeserializeOwned;

use super::{Context, resolve_placement::ResolvedPlacement};
use crate::{
    channel::Channel,
    fleet::Fleet,
    kind::Kind,
    observe::{self, access::AccessFacts, address::Addresses},
    owner::OwnerKey,
    rollouts::RolloutState,
    status::{ConditionState, Delivery, Facts, OptionalCondition, reasons},
    workload::Workload,
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

/// Number of brokers that the operator wants. `None`: another autoscaler owns it. `recorded` is what the status says.
pub(crate) fn wanted_replicas(
    workload: &Workload,
    ctx: &Context,
    recorded: Option<&AutoscalingStatus>,
) -> Option<i32> {
    let deployment =
        ctx.scope.object(Kind::Deployment, workload.namespace(), &workload.object_name());
    let live = deployment.and_then(|d| d.data["spec"]["replicas"].as_i64());
    let live = live.and_then(|replicas| i32::try_from(replicas).ok());
    let decision = ctx.decisions.of(&workload.owner.key);
    observe::scaling::wanted_replicas(workload, &decision, recorded, live)
}

/// Where clients reach the Service of a channel or pool. `exposure` has the listeners of the brokers behind it.
pub(crate) fn addresses(workload: &Workload, exposure: &Exposure, ctx: &Context) -> Addresses {
    let service = ctx.scope.object(Kind::Service, workload.namespace(), &workload.object_name());
    let service = service.and_then(|service| parse_object(&service));
    let load_balancer = service.as_ref().and_then(observe::load_balancer);
    let domain = &ctx.settings.cluster_domain;
    Addresses::new(workload, exposure, domain, load_balancer.as_deref())
}

/// The condition `UpToDate`.
pub(crate) fn up_to_date(
    owner: &OwnerKey,
    fleet: &Fleet,
    deployment: Option<&Deployment>,
) -> ConditionState {
    let is_rolling = deployment.is_some_and(observe::is_rolling);
    let state = if is_rolling { RolloutState::RollingOut } else { RolloutState::UpToDate };
    let state = fleet.pending_state(owner).unwrap_or(state);
    ConditionState {
        status: Some(state.status()),
        reason: state.reason(),
        message: state.message(owner),
        is_transient: false,
    }
}

/// What the steps of a reconciliation have found.
pub(super) struct Found {
    pub(super) accepted: ConditionState,
    pub(super) stream_ready: ConditionState,
    pub(super) access_ready: Option<ConditionState>,
    pub(super) stream: Option<StreamStatus>,
    /// Where clients reach the channel.
    pub(super) addresses: Addresses,
}

/// Collects the facts for the status of a channel that had the status `old`.
pub(super) fn collect(
    channel: &Channel,
    ctx: &Context,
    old: &EventChannelStatus,
    placed: &ResolvedPlacement,
    found: Found,
) -> Facts {
    let Found { accepted, stream_ready, access_ready, stream, addresses } = found;
    let workload = &channel.workload;
    let name = workload.object_name();
    let object = |kind| ctx.scope.object(kind, channel.namespace(), &name);
    let deployment = object(Kind::Deployment).and_then(|o| parse_object::<Deployment>(&o));
    let pods = ctx.scope.pods_of(&workload.owner.key);
    let pods = pods.iter().map(|pod| &**pod);
    let generation = workload.owner.generation;
    let (brokers, mut available) = match placed.placement.serves.pool() {
        Some(pool) => {
            observe::pool::available(&channel.key(), generation, pool, placed.pool.as_deref())
        }
        None => {
            let cut_off = ctx.broker_reports.cut_off(&workload.owner.key);
            let cut_off = cut_off.unless_log_is_down(stream_ready.status != Some(true));
            observe::brokers(workload, &ctx.settings, deployment.as_ref(), pods, cut_off)
        }
    };
    if stream_ready.reason == reasons::NOT_OWNED && deployment.is_none() {
        available = ConditionState::waiting_for("a stream that belongs to this channel");
    }
    let decision = ctx.decision(channel);
    let path = channel.path();
    let has_brokers = placed.placement.has_brokers;
    let own =
        |state: OptionalCondition| if has_brokers { state } else { OptionalCondition::Absent };
    let (pool, moved) =
        if placed.is_unserved { Default::default() } else { placed.placement.status() };
    Facts {
        accepted,
        stream_ready,
        available,
        exposed: observe::exposed(workload, ctx.scope.apis, object(Kind::HttpRoute).as_deref()),
        access_ready,
        delivery: delivery(channel, ctx, old),
        autoscaled: own(observe::scaling::autoscaled(workload, &decision)),
        balanced: own(observe::scaling::balanced(workload, &decision)),
        up_to_date: own(OptionalCondition::Known(up_to_date(
            &workload.owner.key,
            &ctx.fleet,
            deployment.as_ref(),
        ))),
        pool,
        moved,
        chosen_replicas: None,
        stream,
        brokers: Some(brokers),
        url: Some(format!("{}{path}/events", addresses.url())),
        operator: Some(ctx.claims.claim(old.operator.as_ref())),
        internal_url: Some(format!("{}{path}/events", addresses.inside_plain)),
    }
}

/// A cached object with its type. `None` if it does not have that type, which the API server rules out.
pub(crate) fn parse_object<K: DeserializeOwned>(object: &DynamicObject) -> Option<K> {
    serde_json::to_value(object).and_then(serde_json::from_value).ok()
}
