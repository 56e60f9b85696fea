//! `eventcast-broker`: arguments, telemetry, dispatch, exit code.

mod args;

use std::{process::ExitCode, time::Duration};

use args::{Args, CheckArgs, Command};
use clap::Parser;
use eventcast_broker::{Listeners, dev, reload::Source};
use eventcast_crds::process::{
    Chain,
    signals::Signals,
    supervise::{EXIT_FAILED, Supervisor, TaskFailed},
    telemetry,
};
use tokio_util::sync::CancellationToken;

/// Gives back what subscribers who left have used; the system's allocator keeps it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The configuration or the command line cannot be used (sysexits.h, `EX_USAGE`).
const EXIT_USAGE: u8 = 64;
/// A second signal came (128 + SIGINT).
const EXIT_NOW: u8 = 130;

/// Any error, for its words.
type Message = Box<dyn std::error::Error + Send + Sync>;
/// An exit code and what to say on standard error.
type Failure = (u8, String);

fn main() -> ExitCode {
    let args = Args::parse();
    if let Err(message) = telemetry::start(&args.log, args.log_format) {
        eprintln!("eventcast-broker: {message}");
        return ExitCode::from(EXIT_USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("eventcast-broker: cannot start: {}", Chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let signals = Signals::watch().map_err(failed)?;
        tokio::select! {
            ended = dispatch(args.command, signals.shutdown) => ended,
            () = signals.now.cancelled() => Err((EXIT_NOW, "ended at once".into())),
        }
    });
    // Drops what still runs; a child of ours is killed with it.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, message)) => {
            for line in message.lines() {
                eprintln!("eventcast-broker: {line}");
            }
            ExitCode::from(code)
        }
    }
}

async fn dispatch(command: Command, shutdown: CancellationToken) -> Result<(), Failure> {
    match command {
        Command::Check(CheckArgs { config, nats }) => check(&config.source()?, nats).await,
        Command::Run(args) => {
            let source = args.source()?;
            let first = source.read().await.map_err(usage)?;
            let listeners = Listeners::bind(&first.config).await.map_err(failed)?;
            announce(&listeners).map_err(failed)?;
            let supervisor = Supervisor::default();
            let ended = eventcast_broker::run(first, source, listeners, supervisor, shutdown);
            ended.await.map_err(failed)
        }
        Command::Dev(options) => dev::run(options, shutdown).await.map_err(failed),
    }
}

/// Strict where a running broker is lenient: unknown keys are refused. NATS is asked only on request: mostly the file is checked
/// where NATS cannot be reached.
async fn check(source: &Source, nats: bool) -> Result<(), Failure> {
    let complaints = source.complaints().await;
    if !complaints.is_empty() {
        return Err(usage(complaints.join("\n")));
    }
    if nats {
        let config = source.read().await.map_err(usage)?.config;
        let complaints = eventcast_broker::check_nats(&config).await;
        if !complaints.is_empty() {
            return Err(failed(complaints.join("\n")));
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "where it listens is what this program says to its caller")]
fn announce(listeners: &Listeners) -> std::io::Result<()> {
    println!("listening on http://{}", listeners.public.local_addr()?);
    println!("admin on http://{}", listeners.admin.local_addr()?);
    Ok(())
}

fn usage(message: impl Into<Message>) -> Failure {
    (EXIT_USAGE, Chain(&*message.into()).to_string())
}

fn failed(message: impl Into<Message>) -> Failure {
    let message = message.into();
    let code = if message.is::<TaskFailed>() { EXIT_FAILED } else { 1 };
    (code, Chain(&*message).to_string())
}
