//! One reconciliation of a channel: parse, validate, ensure the stream, apply the objects, observe, write the status.
//!
//! Each step reports in a condition of its own, and a step that fails does not stop the others: while NATS is unreachable, the
//! brokers are still repaired. The status is written after failures, too. A transient failure is retried with backoff. A failure
//! that only a change can resolve waits for that change, or for the next resync.

mod apply_objects;
mod facts;
mod finalizer;
mod other_operators;
mod parse;
mod report;
mod resolve_placement;

use std::{sync::Arc, time::Duration};

use eventcast_crds::{
    channel::{
        PAUSED_ANNOTATION,
        status::{EventChannelStatus, StreamStatus},
        stream::DeletionPolicy,
    },
    stream::exceeds_payload,
};
use eventcast_runtime::Chain;
use jiff::Timestamp;
use kube::{Client, Resource, ResourceExt, core::DynamicObject, runtime::controller::Action};
use tokio::time::Instant;

use crate::{
    apply::Applier,
    backoff::Backoff,
    broker_reports::BrokerReports,
    channel::Channel,
    claims::Claims,
    decisions::{Decision, Decisions},
    events::Events,
    fleet::Fleet,
    leader::{Fence, NotLeader},
    metrics::Metrics,
    nats::NatsLink,
    objects::Backend,
    observe,
    owner::{OwnerKey, OwnerKind},
    pool_changes::PoolChanges,
    pool_views::PoolViews,
    schema::Schema,
    scope::{Scope, is_annotated},
    settings::Settings,
    spans,
    status::{self, ConditionState, Delivery, Facts, OptionalCondition, reasons},
    stream::{self, EnsuredStream},
};
pub(crate) use apply_objects::{Objects, apply_objects, not_applied};
use facts::Found;
pub(crate) use facts::{addresses, parse_object, up_to_date, wanted_replicas};
use finalizer::{finalize, set_finalizer};
pub use other_operators::OtherOperators;
pub(crate) use parse::{Parsed, old_status, parse};
pub(crate) use report::apply_status;
use report::write_status;
use resolve_placement::resolve_placement;

/// What every reconciliation of a scope shares.
pub struct Context {
    /// Settings that apply to all channels.
    pub settings: Arc<Settings>,
    /// Client of the API server.
    pub client: Client,
    /// Watches and caches.
    pub scope: Arc<Scope>,
    /// Connection to NATS.
    pub nats: Arc<NatsLink>,
    /// Writes objects.
    pub applier: Arc<Applier>,
    /// Whether this process may write.
    pub fence: Fence,
    /// Publishes Events.
    pub events: Events,
    /// Metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Retry delays.
    pub backoff: Arc<Backoff>,
    /// What brokers report about keys and certificates.
    pub broker_reports: Arc<BrokerReports>,
    /// Which channels may replace their brokers.
    pub fleet: Arc<Fleet>,
    /// What the autopilot has decided.
    pub decisions: Arc<Decisions>,
    /// What is known of each pool.
    pub pool_views: Arc<PoolViews>,
    /// Tells the reconciliation of pools that something has changed.
    pub pool_changes: PoolChanges,
    /// How the installed CRD and the operator's CRD differ.
    pub schema: Arc<Schema>,
    /// The claims of this operator and of others.
    pub claims: Arc<Claims>,
    /// Channels that other operators reconcile.
    pub other_operators: Arc<OtherOperators>,
    /// Interval at which every channel is reconciled even if nothing changed.
    pub resync: Duration,
}

impl Context {
    /// What the autopilot has decided for `channel`.
    fn decision(&self, channel: &Channel) -> Decision {
        self.decisions.of(&channel.workload.owner.key)
    }
}

/// Why a reconciliation must be retried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A condition is false for a transient reason.
    #[error("{reason}: {message}")]
    NotReady {
        /// Reason of the condition.
        reason: &'static str,
        /// Message of the condition.
        message: String,
    },
    /// The status could not be written.
    #[error("failed to write the status")]
    Status(#[source] kube::Error),
    /// The finalizer could not be added or removed.
    #[error("failed to write the finalizer")]
    Finalizer(#[source] kube::Error),
    /// Another replica may be the leader.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
    /// The reconciliation panicked. The process exits.
    #[error("the reconciliation panicked: {0}")]
    Panicked(String),
}

impl Error {
    /// Value of the metric label `reason`: one of a finite set.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotReady { reason, .. } => reason,
            Self::Status(_) => "StatusNotWritten",
            Self::Finalizer(_) => "FinalizerNotWritten",
            Self::NotLeader(_) => "NotLeader",
            Self::Panicked(_) => "Panicked",
        }
    }
}

/// Reconciles a channel, counts the result and resets the backoff after a success.
///
/// # Errors
/// The reconciliation must be retried; [`error_policy`] decides when.
pub async fn reconcile(raw: Arc<DynamicObject>, ctx: Arc<Context>) -> Result<Action, Error> {
    let _timer = ctx.metrics.reconcile_seconds.start_timer();
    ctx.fence.check()?;
    ctx.fleet.reconciled(&OwnerKey::of(OwnerKind::Channel, &raw));
    let steps = Box::pin(run_steps(&raw, &ctx));
    let result = spans::reconcile(key(&raw), raw.metadata.generation, Error::reason, steps).await;
    ctx.metrics.reconciled(result.is_ok());
    if result.is_ok() {
        ctx.backoff.reset(&raw.uid().unwrap_or_default());
    }
    result
}

/// Schedules the retry of a failed reconciliation.
pub fn error_policy(raw: &DynamicObject, error: &Error, ctx: &Context) -> Action {
    ctx.metrics.failed(error.reason());
    let delay = ctx.backoff.record_failure(&raw.uid().unwrap_or_default(), Instant::now());
    tracing::warn!(
        channel = %key(raw),
        error = %Chain(error), retry_in = ?delay, "reconcile failed; retrying"
    );
    Action::requeue(delay)
}

async fn run_steps(raw: &DynamicObject, ctx: &Context) -> Result<Action, Error> {
    let old = parse::old_status(raw);
    if let Some(other) = ctx.claims.read_other(&raw.metadata, old.operator.as_ref()).await {
        return Ok(ctx.other_operators.leave(raw, &other, ctx));
    }
    ctx.other_operators.forget(&raw.uid().unwrap_or_default());
    let (ec, unknown) = match parse(raw) {
        Parsed::Channel { channel, unknown } => (channel, unknown),
        Parsed::Unreadable(cause) => {
            let message = format!(
                "this operator cannot parse the spec ({cause}): correct the spec, or upgrade the operator"
            );
            return reject(raw, ctx, &old, ConditionState::failed(reasons::UNREADABLE, message))
                .await;
        }
    };
    if raw.metadata.deletion_timestamp.is_some() {
        return Box::pin(finalize(raw, &ec, ctx)).await;
    }
    if is_annotated(raw, PAUSED_ANNOTATION, "true") {
        write_status(raw, ctx, &old, status::paused(&old, Timestamp::now())).await?;
        return Ok(Action::await_change());
    }
    let mut channel = match Channel::new(&ec, &ctx.settings) {
        Ok(channel) => channel,
        Err(problems) => {
            let accepted = ConditionState::failed(reasons::INVALID_SPEC, problems.join("; "));
            return reject(raw, ctx, &old, accepted).await;
        }
    };
    let placed = resolve_placement(&channel, ctx, &old).await?;
    let addresses = placed.addresses(&channel, ctx);
    channel.set_probe(match placed.backend {
        Backend::Own => observe::delivery::probe(&channel, &addresses),
        Backend::Pool { .. } => observe::delivery::probe_in_pool(&channel, &addresses),
    });
    // Before the stream is created, so that it cannot be left behind by a deletion in between.
    let deletes_stream = channel.spec.deletion_policy == DeletionPolicy::Delete;
    set_finalizer(raw, ctx, deletes_stream).await?;

    let ensured = Box::pin(ensure_stream(raw, &channel, ctx, old.stream.is_some()));
    let (stream_ready, stream) =
        spans::step("stream", |(ready, _)| failure(Some(ready)), ensured).await;
    let is_foreign = stream_ready.reason == reasons::NOT_OWNED;
    let shared_state = stream::access::ensure(&ctx.nats, &ctx.fence, &channel).await;
    // A channel without credentials does not need it.
    let needs_shared_state = channel.config.access.accepts_credentials();
    let shared_state =
        shared_state.err().map(|error| error.condition).filter(|_| needs_shared_state);
    let wanted = wanted_replicas(&channel.workload, ctx, old.autoscaling.as_ref());
    // Brokers of a foreign stream would serve the events of another channel.
    let apply_failure = if is_foreign || placed.is_unserved {
        None
    } else {
        let objects = Objects {
            workload: &channel.workload,
            backend: &placed.backend,
            has_brokers: placed.placement.has_brokers,
            replicas: wanted,
            observed_generation: old.observed_generation,
        };
        let applied = Box::pin(apply_objects(raw, objects, ctx));
        spans::step("apply", |failed| failure(failed.as_ref()), applied).await
    };
    if !placed.placement.has_brokers {
        ctx.fleet.remove(&channel.workload.owner.key);
    }
    let accepted = placed
        .refusal
        .clone()
        .or(apply_failure)
        .unwrap_or_else(|| accepted(&ctx.schema.missing(), &unknown));
    let access_ready = facts::access_ready(&channel, ctx, shared_state.as_ref());
    let found = Found { accepted, stream_ready, access_ready, stream, addresses };
    let mut facts = facts::collect(&channel, ctx, &old, &placed, found);
    facts.chosen_replicas =
        channel.workload.autoscaling().and(wanted).filter(|_| placed.placement.has_brokers);
    let new = status::status(&old, raw.metadata.generation, &facts, Timestamp::now());
    let has_moved = (&new.pool, &new.moved) != (&old.pool, &old.moved);
    write_status(raw, ctx, &old, new).await?;
    if has_moved || placed.placement.previous.is_some() {
        ctx.pool_changes.notify_all();
    }
    // Other problems of access are brokers' to resolve.
    let access = facts.access_ready.as_ref().filter(|access| access.is_transient);
    let conditions = [Some(&facts.accepted), Some(&facts.stream_ready), access];
    let next = next_action(raw, ctx, &old, &conditions.into_iter().flatten().collect::<Vec<_>>())?;
    Ok(placed.placement.next.map_or(next, Action::requeue))
}

/// Why a step has failed, if its condition says so.
fn failure(condition: Option<&ConditionState>) -> Option<&'static str> {
    condition.filter(|c| c.status == Some(false)).map(|c| c.reason)
}

/// Decides when to reconcile again. Brokers that are not ready yet need no retry: the watch reports when they are.
fn next_action(
    raw: &DynamicObject,
    ctx: &Context,
    old: &EventChannelStatus,
    conditions: &[&ConditionState],
) -> Result<Action, Error> {
    let failed = || conditions.iter().filter(|c| c.status == Some(false));
    if let Some(c) = failed().find(|c| c.is_transient) {
        return Err(Error::NotReady { reason: c.reason, message: c.message.clone() });
    }
    for ConditionState { reason, message, .. } in failed() {
        ctx.metrics.failed(reason);
        // Logged once; the condition stays.
        if !old.conditions.iter().any(|c| c.reason == *reason && c.message == *message) {
            tracing::warn!(
                channel = %key(raw),
                reason, detail = message, "channel is not ready; waiting for a change"
            );
        }
    }
    Ok(Action::requeue(ctx.resync.mul_f64(0.8 + 0.4 * fastrand::f64())))
}

/// `<namespace>/<name>`, for logs.
fn key(raw: &DynamicObject) -> String {
    format!("{}/{}", raw.namespace().unwrap_or_default(), raw.name_any())
}

/// Reports a spec that cannot be used. Existing objects and the stream stay as they are.
async fn reject(
    raw: &DynamicObject,
    ctx: &Context,
    old: &EventChannelStatus,
    accepted: ConditionState,
) -> Result<Action, Error> {
    let waiting = || ConditionState::waiting_for("a valid spec");
    let facts = Facts {
        accepted,
        stream_ready: waiting(),
        available: waiting(),
        exposed: waiting(),
        access_ready: Some(waiting()),
        delivery: Delivery::Unchanged,
        autoscaled: OptionalCondition::Unchanged,
        balanced: OptionalCondition::Unchanged,
        up_to_date: OptionalCondition::Unchanged,
        chosen_replicas: old.autoscaling.as_ref().map(|autoscaling| autoscaling.desired),
        pool: old.pool.clone(),
        moved: old.moved.clone(),
        stream: None,
        brokers: None,
        url: None,
        operator: Some(ctx.claims.claim(old.operator.as_ref())),
        internal_url: None,
    };
    let new = status::status(old, raw.metadata.generation, &facts, Timestamp::now());
    write_status(raw, ctx, old, new).await?;
    next_action(raw, ctx, old, &[&facts.accepted])
}

/// The condition `Accepted` of a valid spec whose objects were applied. `unknown` are fields that this operator does not know.
/// `missing` are fields that the installed CRD lacks.
pub(crate) fn accepted(missing: &[String], unknown: &[String]) -> ConditionState {
    if !unknown.is_empty() {
        let fields = unknown.join(", ");
        let message = format!(
            "this operator does not know {fields}, so they have no effect: upgrade the operator"
        );
        return ConditionState::met(reasons::UNKNOWN_FIELDS, message);
    }
    if missing.is_empty() {
        return ConditionState::met(reasons::ACCEPTED, "the spec is valid and was applied");
    }
    let fields = missing.join(", ");
    let message = format!(
        "the installed CRD is older than the operator and lacks {fields}: apply the CRD of the operator's version"
    );
    ConditionState::met(reasons::CRD_OLDER, message)
}

/// Returns the condition `StreamReady`, and the stream if NATS could be asked.
async fn ensure_stream(
    raw: &DynamicObject,
    channel: &Channel,
    ctx: &Context,
    existed: bool,
) -> (ConditionState, Option<StreamStatus>) {
    let cluster = &ctx.settings.cluster;
    let is_deleted = |namespace: &str, name: &str| ctx.scope.is_deleted(namespace, name);
    match stream::ensure(&ctx.nats, &ctx.fence, channel, cluster, existed, is_deleted).await {
        Ok(EnsuredStream { status, change, limitation }) => {
            if let Some(change) = change {
                ctx.metrics.stream_changed(change.label());
                ctx.events.stream_changed(&reference(raw), &status.name, &change).await;
                tracing::info!(stream = status.name, ?change, "stream changed");
            }
            (stream_ready(channel, ctx, &status.name, limitation), Some(status))
        }
        Err(error) => (error.condition, None),
    }
}

/// The condition `StreamReady` of a stream that matches the channel.
fn stream_ready(
    channel: &Channel,
    ctx: &Context,
    stream: &str,
    limitation: Option<String>,
) -> ConditionState {
    if let Some(problem) = exceeds_payload(&channel.config, ctx.nats.max_payload()) {
        return ConditionState::met(reasons::MAX_PAYLOAD, problem);
    }
    let limitation = limitation.map(|text| format!("; {text}")).unwrap_or_default();
    let message = format!("stream {stream} matches the spec{limitation}");
    ConditionState::met(reasons::STREAM_READY, message)
}

/// The object that Events refer to.
fn reference(raw: &DynamicObject) -> k8s_openapi::api::core::v1::ObjectReference {
    raw.object_ref(&OwnerKind::Channel.resource())
}
