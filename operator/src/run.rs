//! The life of an operator: listen, be elected, work, go.

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Readiness},
    args::Run,
    check::{self, Places},
    controller::Operator,
    leader::{Election, Fence},
    metrics::Metrics,
    nats::{Chain, Jet},
    schema::Schema,
};

/// How often is asked for missing rights while there are some.
const ASK: Duration = Duration::from_secs(10);

/// Any error, for its words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Works until `shutdown`, or until another replica leads.
///
/// # Errors
/// The admin address is taken, NATS is configured in a way that cannot work, or the Lease is lost: the process must end then, so
/// that nothing of it writes any more.
pub async fn run(args: Run, client: Client, shutdown: CancellationToken) -> Result<(), Failure> {
    let metrics = Metrics::new()?;
    let settings = Arc::new(args.settings());
    let listener = TcpListener::bind(args.admin).await.map_err(|e| {
        format!("cannot listen on {}: {e}; choose another address with --admin", args.admin)
    })?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), admin = %listener.local_addr()?, "starting");
    let readiness = Readiness::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(admin::serve(listener, Arc::clone(&metrics), readiness.clone()));

    let identity = args.identity();
    let elects = args.shared.leader_election;
    let own = args.shared.own_namespace();
    let places = Places { watched: args.shared.namespaces(), own: elects.then(|| own.clone()) };
    let (asker, asked) = (client.clone(), Arc::clone(&settings));
    let watched = places.watched.clone();
    tasks.spawn(async move { ask_for_rights(&asker, &asked, &places, &readiness).await });
    let jet = Jet::connect(Arc::clone(&settings), Arc::clone(&metrics)).await?;
    let credentials = (Arc::clone(&jet), shutdown.clone());
    tasks.spawn(async move { credentials.0.follow_credentials(credentials.1).await });

    let fence = if elects { Fence::closed() } else { Fence::open() };
    let mut election = Election::new(client.clone(), &own, identity.clone(), fence.clone());
    if elects {
        tokio::select! {
            () = election.win() => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
    metrics.leader.set(1);
    tracing::info!(identity, "leading");
    let operator = Operator {
        client,
        settings,
        jet,
        fence,
        metrics,
        schema: Arc::new(Schema::default()),
        identity,
        namespaces: watched,
        concurrency: args.concurrency,
        resync: args.resync(),
    };
    if !elects {
        operator.run(shutdown).await;
        return Ok(());
    }
    // The Lease is given up after the last visit has ended: whoever takes it over finds nobody at work.
    let ended = CancellationToken::new();
    let work = async {
        operator.run(shutdown.clone()).await;
        ended.cancel();
    };
    let (held, ()) = tokio::select! {
        both = async { tokio::join!(election.hold(ended.clone()), work) } => both,
        () = lost(&operator.fence, &ended) => return Err(Box::new(crate::leader::Fenced)),
    };
    held?;
    Ok(())
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
