//! `eventcast-operator`: parses the arguments and runs the subcommand.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use eventcast_crds::crd::crds_yaml;
use eventcast_operator::{
    args::{Args, Command, CommonArgs},
    check::{self, Namespaces},
    metrics::Metrics,
    run,
    settings::Settings,
};
use eventcast_runtime::{
    Chain,
    program::{self, EXIT_USAGE, Failure, print},
};
use kube::Client;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            drop(error.print());
            // `--help` and `--version` are no errors.
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    program::run("eventcast-operator", &args.log, args.log_format, |shutdown| {
        dispatch(args.command, shutdown)
    })
}

async fn dispatch(command: Command, shutdown: CancellationToken) -> Result<(), Failure> {
    match command {
        Command::Crd => print_crds(),
        Command::Run(args) => {
            let settings = Arc::new(args.settings().map_err(Failure::usage)?);
            run::run(*args, settings, client().await?, shutdown).await.map_err(Failure::failed)
        }
        Command::Check(args) => check(&args).await,
    }
}

fn print_crds() -> Result<(), Failure> {
    print(&crds_yaml().map_err(Failure::failed)?)
}

async fn check(args: &CommonArgs) -> Result<(), Failure> {
    let settings = Settings::for_check(args.nats(), args.token_review_binding(), args.autopilot);
    let namespaces = Namespaces {
        watched: args.namespaces(),
        lease: args.leader_election.then(|| args.own_namespace()),
    };
    let mut problems = check::find_problems(
        &client().await?,
        settings,
        &namespaces,
        &Metrics::new().map_err(Failure::failed)?,
    )
    .await;
    problems.extend(args.broker_defaults().err());
    if problems.is_empty() {
        return print("no problems found: NATS, the CRDs and the permissions are in place\n");
    }
    Err(Failure::failed(problems.join("\n")))
}

async fn client() -> Result<Client, Failure> {
    let unreachable = |e: &(dyn std::error::Error + 'static)| {
        let cause = Chain(e);
        Failure::failed(format!(
            "cannot connect to the API server: {cause}; run the operator in a cluster, or set KUBECONFIG"
        ))
    };
    let config = kube::Config::infer().await.map_err(|e| unreachable(&e))?;
    Client::try_from(config).map_err(|e| unreachable(&e))
}
