//! The subcommand `run`: start the admin port, win the election, reconcile, shut down.

use std::{sync::Arc, time::Duration};

use eventcast_runtime::{
    Chain,
    control::{self, ControlListeners},
    listener::listen,
    log_level_file,
    supervise::Supervisor,
    traces::{self, Wanted},
};
use kube::Client;
use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Readiness},
    args::RunArgs,
    check::{self, Namespaces},
    claims::Claims,
    clock::Clock,
    controller::Operator,
    leader::{Election, Fence, NotLeader},
    metrics::Metrics,
    nats::NatsLink,
    schema::Schema,
    settings::Settings,
};

/// Interval of the permission checks while permissions are missing.
const PERMISSION_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// How long running reconciliations may take at shutdown. Below the 30 s that Kubernetes gives a pod.
const RECONCILE_DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Interval at which the fence is checked for a lost Lease.
const FENCE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Any error; only its text matters.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the operator until `shutdown`, until the Lease is lost, or until a critical task fails.
///
/// # Errors
/// The admin address is in use, the NATS settings are invalid, a critical task failed, or the Lease is lost. The process must
/// exit then, so that it writes nothing more.
pub async fn run(
    args: RunArgs,
    settings: Arc<Settings>,
    client: Client,
    shutdown: CancellationToken,
) -> Result<(), BoxError> {
    let metrics = Metrics::new()?;
    let listener = listen(args.admin).map_err(|e| {
        format!("cannot listen on {}: {e}; choose another address with --admin", args.admin)
    })?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %listener.local_addr()?, "starting");
    // Reconciliations that change something are few, so all of them are sampled.
    traces::start(&Wanted {
        service: "eventcast-operator",
        version: env!("CARGO_PKG_VERSION"),
        endpoint: None,
        sample_ratio: Some(1.0),
    });
    let (readiness, supervisor) = (Readiness::default(), Supervisor::default());
    // Cancelled by a signal, and by the first task that fails.
    let stop = shutdown.child_token();
    // Cancelled when this function returns: the admin port serves until then.
    let returned = CancellationToken::new();
    let _cancel_on_return = returned.clone().drop_guard();
    let admin = admin::serve(listener, Arc::clone(&metrics), readiness.clone());
    let admin = returned.clone().run_until_cancelled_owned(admin);
    supervisor.spawn("admin listener", &returned, admin);
    if let Some(control) = ControlListeners::bind(args.control_port) {
        let control = returned.clone().run_until_cancelled_owned(control::serve_log_level(control));
        supervisor.spawn("control listener", &returned, control);
    }
    if let Some(file) = args.log_level_file.clone() {
        let follow = async move { log_level_file::follow(&file).await };
        let follow = returned.clone().run_until_cancelled_owned(follow);
        supervisor.spawn("log level", &returned, follow);
    }
    let stop_on_failure = {
        let (supervisor, stop, readiness) = (supervisor.clone(), stop.clone(), readiness.clone());
        async move {
            let failure = supervisor.failed().await;
            readiness.fail(failure.to_string());
            stop.cancel();
        }
    };
    supervisor.spawn_once("stop on failure", stop_on_failure);

    let elects = args.common.leader_election;
    let own_namespace = args.common.own_namespace();
    let namespaces = Namespaces {
        watched: args.common.namespaces(),
        lease: elects.then(|| own_namespace.clone()),
    };
    if let Some(selector) = &settings.channel_selector
        && let Some(problem) = check::find_invalid_selector(&client, &namespaces, selector).await
    {
        return Err(problem.into());
    }
    let watched = namespaces.watched.clone();
    let permission_check = {
        let (client, settings) = (client.clone(), Arc::clone(&settings));
        async move { wait_for_permissions(&client, &settings, &namespaces, &readiness).await }
    };
    supervisor.spawn_once("permission check", permission_check);
    let nats = NatsLink::connect(Arc::clone(&settings), Arc::clone(&metrics)).await?;
    let credentials_reload = {
        let (nats, stop) = (Arc::clone(&nats), stop.clone());
        async move { nats.watch_credentials(stop).await }
    };
    supervisor.spawn("credentials reload", &stop, credentials_reload);

    let identity = args.identity();
    let fence = if elects { Fence::closed() } else { Fence::open() };
    let mut election =
        Election::new(client.clone(), &own_namespace, identity.clone(), fence.clone());
    if elects {
        tokio::select! {
            _ = supervisor.catch("leader election", election.win()) => {}
            () = stop.cancelled() => {}
        }
        if stop.is_cancelled() || supervisor.failure().is_some() {
            return outcome(&supervisor);
        }
    }
    metrics.leader.set(1);
    tracing::info!(identity, "leading");
    let reconciles = TaskTracker::new();
    // Without a Lease that others can read, or with a selector, by which a channel leaves unseen, claims have an end.
    let lasts = elects && watched.is_empty() && settings.channel_selector.is_none();
    let resync = (!lasts).then(|| args.resync());
    let claims = Claims::new(client.clone(), settings.operator.clone(), resync);
    let operator = Operator {
        client,
        claims: Arc::new(claims),
        settings,
        nats,
        fence: fence.clone(),
        metrics,
        schema: Arc::new(Schema::default()),
        identity,
        supervisor: supervisor.clone(),
        reconciles: reconciles.clone(),
        namespaces: watched,
        concurrency: args.concurrency,
        resync: args.resync(),
        look_interval: args.look_interval(),
        clock: Clock::new(args.autopilot_speed),
        rollouts: args.rollouts(),
    };
    let controller = {
        let stop = stop.clone();
        async move { operator.run(stop).await }
    };
    let controller = supervisor.spawn("controller", &stop, controller);
    // The Lease is released only after the last reconciliation, so that the next leader starts alone.
    let idle = CancellationToken::new();
    let work = async {
        drop(controller.await); // the supervisor knows how it ended
        reconciles.close();
        reconciles.wait().await;
        idle.cancel();
    };
    let hold = async {
        // If the Lease is lost, the fence closes and `wait_lease_lost` returns.
        if elects && election.hold(idle.clone()).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let work_and_hold = async { tokio::join!(supervisor.catch("leader election", hold), work) };
    tokio::select! {
        _ = work_and_hold => {}
        () = wait_lease_lost(&fence, &idle), if elects => return Err(Box::new(NotLeader)),
        () = wait_drain_timeout(&stop) => {
            tracing::warn!(
                reconciles = reconciles.len(),
                "reconciliations did not finish in time: exiting without releasing the lease"
            );
        }
    }
    outcome(&supervisor)
}

/// The result of a run that was stopped: the first failure of a critical task, if there was one.
fn outcome(supervisor: &Supervisor) -> Result<(), BoxError> {
    supervisor.failure().map_or(Ok(()), |failure| Err(failure.into()))
}

/// Returns [`RECONCILE_DRAIN_TIMEOUT`] after `stop`.
async fn wait_drain_timeout(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(RECONCILE_DRAIN_TIMEOUT).await;
}

/// Returns when the fence closes, unless the operator is `idle`: then it released the Lease itself.
async fn wait_lease_lost(fence: &Fence, idle: &CancellationToken) {
    while fence.check().is_ok() || idle.is_cancelled() {
        sleep(FENCE_CHECK_INTERVAL).await;
    }
}

/// Makes the operator ready once it has every permission: without one, part of its work would fail silently.
async fn wait_for_permissions(
    client: &Client,
    settings: &Settings,
    namespaces: &Namespaces,
    readiness: &Readiness,
) {
    loop {
        let problem = match check::find_missing_permissions(client, settings, namespaces).await {
            Ok(missing) if missing.is_empty() => {
                readiness.set(None);
                return;
            }
            Ok(missing) => format!("missing permissions: {}", missing.join("; ")),
            Err(error) => {
                format!("cannot check permissions with the API server: {}", Chain(&error))
            }
        };
        tracing::error!(reason = problem, "not ready");
        readiness.set(Some(problem));
        sleep(PERMISSION_CHECK_INTERVAL).await;
    }
}
