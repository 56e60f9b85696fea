//! `eventcast-broker`: arguments and dispatch.

mod args;

use std::process::ExitCode;

use clap::Parser;
use eventcast_broker::{Listeners, dev, reload::Source};
use eventcast_runtime::{
    program::{self, Failure},
    supervise::Supervisor,
};
use tokio_util::sync::CancellationToken;

use args::{Args, CheckArgs, Command};

/// Returns the memory of subscribers that have left; the allocator of glibc keeps it.
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
        Command::Dev(options) => dev::run(options, shutdown).await.map_err(Failure::failed),
    }
}

/// Strict where a running broker is lenient: unknown keys are refused. NATS is asked only on request: mostly the file is checked
/// where NATS cannot be reached.
async fn check(source: &Source, nats: bool) -> Result<(), Failure> {
    let complaints = source.complaints().await;
    if !complaints.is_empty() {
        return Err(Failure::usage(complaints.join("\n")));
    }
    if nats {
        let config = source.read().await.map_err(Failure::usage)?.config;
        let complaints = eventcast_broker::check_nats(&config).await;
        if !complaints.is_empty() {
            return Err(Failure::failed(complaints.join("\n")));
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
