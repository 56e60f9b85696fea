//! `eventcast-broker`: arguments and dispatch.

mod args;

use std::process::ExitCode;

use clap::Parser;
use eventcast_broker::{
    Listeners,
    commands::{key, token},
    dev,
    reload::ConfigSource,
};
use eventcast_runtime::{
    program::{self, Failure, print},
    supervise::Supervisor,
};
use tokio_util::sync::CancellationToken;

use args::{Args, CheckArgs, Command};

/// Returns the memory of closed connections to the system, which the allocator of glibc does not.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    program::run("eventcast-broker", &args.log, args.log_format, |shutdown| {
        dispatch(args.command, shutdown)
    })
}

async fn dispatch(command: Command, shutdown: CancellationToken) -> Result<(), Failure> {
    match command {
        Command::Check(CheckArgs { config, nats }) => check(&config.source()?, nats).await,
        Command::Run(args) => {
            let source = args.source()?;
            let first = source.read().await.map_err(Failure::usage)?;
            let listeners = Listeners::bind(&first.config).await.map_err(Failure::failed)?;
            announce(&listeners).map_err(Failure::failed)?;
            let supervisor = Supervisor::default();
            let ended = eventcast_broker::run(first, source, listeners, supervisor, shutdown);
            ended.await.map_err(Failure::failed)
        }
        Command::Key(options) => print(&key::run(&options).map_err(Failure::usage)?),
        Command::Token(options) => print(&token::run(&options).map_err(Failure::usage)?),
        Command::Dev(options) => dev::run(options, shutdown).await.map_err(Failure::failed),
    }
}

/// Checks the configuration. Unlike a running broker, it rejects unknown keys. It connects to NATS only if asked to, because the
/// file is often checked where NATS is unreachable.
async fn check(source: &ConfigSource, nats: bool) -> Result<(), Failure> {
    let problems = source.problems().await;
    if !problems.is_empty() {
        return Err(Failure::usage(problems.join("\n")));
    }
    let config = source.read().await.map_err(Failure::usage)?.config;
    let problems = eventcast_broker::check_certificate(&config).await;
    if !problems.is_empty() {
        return Err(Failure::failed(problems.join("\n")));
    }
    if nats {
        let problems = eventcast_broker::check_nats(&config).await;
        if !problems.is_empty() {
            return Err(Failure::failed(problems.join("\n")));
        }
    }
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "scripts and tests read the addresses from standard output"
)]
fn announce(listeners: &Listeners) -> std::io::Result<()> {
    for (scheme, listener) in [("https", &listeners.tls), ("http", &listeners.plain)] {
        if let Some(listener) = listener {
            println!("listening on {scheme}://{}", listener.local_addr()?);
        }
    }
    if let Some(control) = &listeners.control {
        println!("control on http://localhost:{}", control.port()?);
    }
    println!("admin on http://{}", listeners.admin.local_addr()?);
    Ok(())
}
