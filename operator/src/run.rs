//! The life of an operator: listen, be elected, work, go.

use std::{sync::Arc, time::Duration};

use eventcast_runtime::{Chain, supervise::Supervisor};
use kube::Client;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, Readiness},
    args::Run,
    check::{self, Places},
    controller::Operator,
    leader::{Election, Fence, Fenced},
    metrics::Metrics,
    nats::Jet,
    schema::Schema,
};

/// How often is asked for missing rights while there are some.
const ASK: Duration = Duration::from_secs(10);

/// How long visits that are under way may take to end. A pod has 30 s.
const DRAIN: Duration = Duration::from_secs(20);

/// Any error, for its words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Works until `shutdown`, until another replica leads, or until a part of the program failed.
///
/// # Errors
/// The admin address is taken, NATS is configured in a way that cannot work, a part of the program failed, or the Lease is lost: the
/// process must end then, so that nothing of it writes any more.
pub async fn run(args: Run, client: Client, shutdown: CancellationToken) -> Result<(), Failure> {
    let metrics = Metrics::new()?;
    let settings = Arc::new(args.settings());
    let listener = TcpListener::bind(args.admin).await.map_err(|e| {
        format!("cannot listen on {}: {e}; choose another address with --admin", args.admin)
    })?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %listener.local_addr()?, "starting");
    let (readiness, supervisor) = (Readiness::default(), Supervisor::default());
    // Ends with a signal, and with the first part that fails.
    let stop = shutdown.child_token();
    let ended = CancellationToken::new();
    let _ends = ended.clone().drop_guard();
    let admin = admin::serve(listener, Arc::clone(&metrics), readiness.clone());
    supervisor.spawn("admin listener", &ended, ended.clone().run_until_cancelled_owned(admin));
    let (failing, stops, fails) = (supervisor.clone(), stop.clone(), readiness.clone());
    supervisor.spawn_once("stop", async move {
        let failure = failing.failed().await;
        fails.fail(failure.to_string());
        stops.cancel();
    });

    let identity = args.identity();
    let elects = args.shared.leader_election;
    let own = args.shared.own_namespace();
    let places = Places { watched: args.shared.namespaces(), own: elects.then(|| own.clone()) };
    let (asker, asked) = (client.clone(), Arc::clone(&settings));
    let watched = places.watched.clone();
    let rights = async move { ask_for_rights(&asker, &asked, &places, &readiness).await };
    supervisor.spawn_once("question for rights", rights);
    let jet = Jet::connect(Arc::clone(&settings), Arc::clone(&metrics)).await?;
    let (of, until) = (Arc::clone(&jet), stop.clone());
    let credentials = async move { of.follow_credentials(until).await };
    supervisor.spawn("reload of credentials", &stop, credentials);

    let fence = if elects { Fence::closed() } else { Fence::open() };
    let mut election = Election::new(client.clone(), &own, identity.clone(), fence.clone());
    if elects {
        tokio::select! {
            _ = supervisor.catch("election", election.win()) => {}
            () = stop.cancelled() => {}
        }
        if stop.is_cancelled() || supervisor.failure().is_some() {
            return outcome(&supervisor);
        }
    }
    metrics.leader.set(1);
    tracing::info!(identity, "leading");
    let visits = TaskTracker::new();
    let operator = Operator {
        client,
        settings,
        jet,
        fence,
        metrics,
        schema: Arc::new(Schema::default()),
        identity,
        supervisor: supervisor.clone(),
        visits: visits.clone(),
        namespaces: watched,
        concurrency: args.concurrency,
        resync: args.resync(),
    };
    let fence = operator.fence.clone();
    let until = stop.clone();
    let controller = async move { operator.run(until).await };
    let controller = supervisor.spawn("controller", &stop, controller);
    // The Lease is given up after the last visit has ended: whoever takes it over finds nobody at work.
    let idle = CancellationToken::new();
    let work = async {
        drop(controller.await); // how it ended is known to the supervisor
        visits.close();
        visits.wait().await;
        idle.cancel();
    };
    let hold = async {
        // `lost` notices where the fence has closed.
        if elects && election.hold(idle.clone()).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let both = async { tokio::join!(supervisor.catch("election", hold), work) };
    tokio::select! {
        _ = both => {}
        () = lost(&fence, &idle), if elects => return Err(Box::new(Fenced)),
        () = overdue(&stop) => {
            let visits = visits.len();
            tracing::warn!(visits, "visits do not end: ending without them, and keeping the lease until it expires");
        }
    }
    outcome(&supervisor)
}

/// What the process ends with after it stopped.
fn outcome(supervisor: &Supervisor) -> Result<(), Failure> {
    supervisor.failure().map_or(Ok(()), |failure| Err(failure.into()))
}

/// Returns when visits have had [`DRAIN`] to end since `stop`.
async fn overdue(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(DRAIN).await;
}

/// Returns when the Lease is lost; not after an end in good order.
async fn lost(fence: &Fence, ended: &CancellationToken) {
    while fence.check().is_ok() || ended.is_cancelled() {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Ready as soon as every right is there: without one, a part of the work would fail in silence.
async fn ask_for_rights(
    client: &Client,
    settings: &crate::settings::Settings,
    places: &Places,
    readiness: &Readiness,
) {
    loop {
        let missing = match check::rights(client, settings, places).await {
            Ok(missing) if missing.is_empty() => {
                readiness.set(None);
                return;
            }
            Ok(missing) => format!("missing rights: {}", missing.join("; ")),
            Err(error) => format!("cannot ask the API server for rights: {}", Chain(&error)),
        };
        tracing::error!(missing, "not ready");
        readiness.set(Some(missing));
        sleep(ASK).await;
    }
}
