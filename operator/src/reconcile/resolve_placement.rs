//! Where a channel is served: by its own brokers, or by a pool. Gathers what [`placement`](crate::placement) decides from.

use std::{sync::Arc, time::Duration};

use eventcast_crds::channel::status::EventChannelStatus;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;

use super::{Context, Error, addresses, parse_object};
use crate::{
    broker_reports::CutOff,
    channel::Channel,
    kind::Kind,
    objects::Backend,
    observe::{self, address::Addresses},
    owner::OwnerKey,
    placement::{PastPlacement, Place, Placement, place},
    pool_views::PoolView,
    status::{ConditionState, reasons},
};

/// How long a reconciliation waits until all pools were looked at after the start of the operator.
const POOLS_TIMEOUT: Duration = Duration::from_secs(20);
/// The drain of a pool that is gone.
const DEFAULT_DRAIN: Duration = Duration::from_secs(15);

/// Where a channel is served.
pub(super) struct ResolvedPlacement {
    pub(super) placement: Placement,
    /// The brokers behind its Service.
    pub(super) backend: Backend,
    /// The pool that serves it. `None`: its own brokers do, or the pool is gone.
    pub(super) pool: Option<Arc<PoolView>>,
    /// Why the pool that it names does not serve it.
    pub(super) refusal: Option<ConditionState>,
    /// Whether nobody serves it, so that it has no objects.
    pub(super) is_unserved: bool,
}

impl ResolvedPlacement {
    /// Where clients reach the channel.
    pub(super) fn addresses(&self, channel: &Channel, ctx: &Context) -> Addresses {
        let exposure = match &self.backend {
            Backend::Own => &channel.workload.exposure,
            Backend::Pool { exposure, .. } => exposure,
        };
        let own = addresses(&channel.workload, exposure, ctx);
        let of_pool = self.pool.as_ref().and_then(|pool| pool.public.clone());
        Addresses { public: own.public.or(of_pool), ..own }
    }
}

/// Decides where `channel` is served.
///
/// # Errors
/// The operator has just started, and the pools were not looked at yet.
pub(super) async fn resolve_placement(
    channel: &Channel,
    ctx: &Context,
    old: &EventChannelStatus,
) -> Result<ResolvedPlacement, Error> {
    let key = channel.key();
    let workload = &channel.workload;
    let deployment =
        ctx.scope.object(Kind::Deployment, channel.namespace(), &workload.object_name());
    let past = PastPlacement::new(old, &key, deployment.is_some());
    let wanted = Place::new(channel.spec.brokers.pool.as_ref(), &key.0);
    let is_concerned = |place: Option<&Place>| place.is_some_and(|place| place.pool().is_some());
    let previous = past.previous.as_ref().map(|(place, _)| place);
    let concerns_pools =
        [Some(&wanted), past.current.as_ref(), previous].into_iter().any(is_concerned);
    if concerns_pools && !ctx.pool_views.wait_complete(POOLS_TIMEOUT).await {
        let message = "the pools were not looked at yet".to_owned();
        return Err(Error::NotReady { reason: reasons::WAITING, message });
    }
    let view = |place: &Place| place.pool().and_then(|pool| ctx.pool_views.of(pool));
    let of_wanted = view(&wanted);
    let refusal = wanted.pool().and_then(|pool| refusal(pool, of_wanted.as_deref(), channel));
    let is_ready = match (&wanted, &of_wanted) {
        (Place::Own, _) => {
            let deployment = deployment.and_then(|object| parse_object::<Deployment>(&object));
            let (pods, cut_off) = (std::iter::empty(), CutOff::default());
            let (_, available) =
                observe::brokers(workload, &ctx.settings, deployment.as_ref(), pods, cut_off);
            [reasons::BROKERS_READY, reasons::SCALED_TO_ZERO].contains(&available.reason)
        }
        (Place::Pool(_), Some(view)) => view.all_serve(&key, workload.owner.generation),
        (Place::Pool(_), None) => false,
    };
    let drains = [past.current.as_ref(), previous].into_iter().flatten().filter_map(view);
    let drain = drains.map(|view| view.drain).max().unwrap_or(DEFAULT_DRAIN);
    // A pool that refuses the channel changes nothing about where it is.
    let target = match (&refusal, &past.current) {
        (Some(_), Some(current)) => current,
        _ => &wanted,
    };
    let placement = place(&past, target, is_ready, drain, Timestamp::now());
    let pool = view(&placement.serves);
    let backend = match placement.serves.pool() {
        None => Backend::Own,
        Some(key) => {
            let exposure = pool.as_ref().map(|pool| pool.exposure.clone()).unwrap_or_default();
            Backend::Pool { key: key.clone(), exposure: Box::new(exposure) }
        }
    };
    // A pool that has not seen the channel yet may refuse it.
    let is_admitted = |view: &Arc<PoolView>| view.admitted.contains(&key);
    let is_unserved = past.current.is_none()
        && wanted.pool().is_some()
        && (refusal.is_some() || !of_wanted.as_ref().is_some_and(is_admitted));
    Ok(ResolvedPlacement { placement, backend, pool, refusal, is_unserved })
}

/// The condition `Accepted` of a channel whose pool does not serve it.
fn refusal(pool: &OwnerKey, view: Option<&PoolView>, channel: &Channel) -> Option<ConditionState> {
    let OwnerKey { namespace, name, .. } = pool;
    let Some(view) = view else {
        let message = format!(
            "there is no BrokerPool {name} with a valid spec in namespace {namespace}: create or correct it, or change brokers.pool"
        );
        return Some(ConditionState::failed(reasons::POOL_MISSING, message));
    };
    let refusal = view.refused.get(&channel.key())?;
    Some(ConditionState::failed(refusal.reason, refusal.message.clone()))
}
