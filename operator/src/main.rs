//! `eventcast-operator`: arguments, telemetry, dispatch, exit code.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use eventcast_crds::{
    channel::crd_yaml,
    process::{
        Chain,
        signals::Signals,
        supervise::{EXIT_FAILED, TaskFailed},
        telemetry,
    },
};
use eventcast_operator::{
    args::{Args, Command, Shared},
    check::{self, Places},
    metrics::Metrics,
    run::{self, Failure},
    settings::Settings,
};
use kube::Client;

/// The command line cannot be used (sysexits.h, `EX_USAGE`).
const EXIT_USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // help and version are no errors
            drop(error.print());
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    if let Err(message) = telemetry::start(&args.log, args.log_format) {
        eprintln!("eventcast-operator: {message}");
        return ExitCode::from(EXIT_USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("eventcast-operator: cannot start: {}", Chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let signals = Signals::watch()?;
        tokio::select! {
            ended = dispatch(args.command, &signals) => ended,
            () = signals.now.cancelled() => Err("ended at once".into()),
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in Chain(&*error).to_string().lines() {
                eprintln!("eventcast-operator: {line}");
            }
            if error.is::<TaskFailed>() { EXIT_FAILED.into() } else { ExitCode::FAILURE }
        }
    }
}

async fn dispatch(command: Command, signals: &Signals) -> Result<(), Failure> {
    match command {
        Command::Crd => print_crd(),
        Command::Run(args) => run::run(*args, client().await?, signals.shutdown.clone()).await,
        Command::Check(shared) => check(&shared).await,
    }
}

#[expect(clippy::print_stdout, reason = "the definition is what this command is asked for")]
fn print_crd() -> Result<(), Failure> {
    println!("{}", crd_yaml()?);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what was found is what this command is asked for")]
async fn check(shared: &Shared) -> Result<(), Failure> {
    let settings = Settings::of_nats(shared.nats());
    let places = Places {
        watched: shared.namespaces(),
        own: shared.leader_election.then(|| shared.own_namespace()),
    };
    let found = check::everything(&client().await?, settings, &places, &Metrics::new()?).await;
    if found.is_empty() {
        println!("NATS, the CRD and every right are there");
        return Ok(());
    }
    Err(found.join("\n").into())
}

async fn client() -> Result<Client, Failure> {
    let unreachable = |e: &(dyn std::error::Error + 'static)| {
        let why = Chain(e);
        format!("no way to the API server: {why}; run it in a cluster, or set KUBECONFIG")
    };
    let config = kube::Config::infer().await.map_err(|e| unreachable(&e))?;
    Client::try_from(config).map_err(|e| unreachable(&e).into())
}
