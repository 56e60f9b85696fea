//! `eventcast-operator`: arguments and dispatch.

use std::process::ExitCode;

use clap::Parser;
use eventcast_crds::channel::crd_yaml;
use eventcast_operator::{
    args::{Args, Command, Shared},
    check::{self, Places},
    metrics::Metrics,
    run,
    settings::Settings,
};
use eventcast_runtime::{
    Chain,
    program::{self, EXIT_USAGE, Failure},
};
use kube::Client;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are no errors.
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    program::run("eventcast-operator", &args.log, args.log_format, |shutdown| {
        dispatch(args.command, shutdown)
    })
}

async fn dispatch(command: Command, shutdown: CancellationToken) -> Result<(), Failure> {
    match command {
        Command::Crd => print_crd(),
        Command::Run(args) => {
            run::run(*args, client().await?, shutdown).await.map_err(Failure::failed)
        }
        Command::Check(shared) => check(&shared).await,
    }
}

#[expect(clippy::print_stdout, reason = "the definition is what this command is asked for")]
fn print_crd() -> Result<(), Failure> {
    println!("{}", crd_yaml().map_err(Failure::failed)?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was found is what this command is asked for")]
async fn check(shared: &Shared) -> Result<(), Failure> {
    let settings = Settings::of_nats(shared.nats());
    let places = Places {
        watched: shared.namespaces(),
        own: shared.leader_election.then(|| shared.own_namespace()),
    };
    let found = check::everything(
        &client().await?,
        settings,
        &places,
        &Metrics::new().map_err(Failure::failed)?,
    )
    .await;
    if found.is_empty() {
        println!("NATS, the CRD and every right are there");
        return Ok(());
    }
    Err(Failure::failed(found.join("\n")))
}

async fn client() -> Result<Client, Failure> {
    let unreachable = |e: &(dyn std::error::Error + 'static)| {
        let why = Chain(e);
        Failure::failed(format!(
            "cannot connect to the API server: {why}; run it in a cluster, or set KUBECONFIG"
        ))
    };
    let config = kube::Config::infer().await.map_err(|e| unreachable(&e))?;
    Client::try_from(config).map_err(|e| unreachable(&e))
}
