//! The command line of Eventcast: arguments in, requests to brokers, text out.
//!
//! A command is a thin shell in `commands`: it sends requests, and prints what pure functions in `text` make of the answers. Results go to
//! standard output, everything else to standard error. Exit codes: 0, 1 (it failed, or what was asked for is not complete), 64 (invalid command line).

mod answers;
mod args;
mod arguments;
mod brokers;
mod channel;
mod check;
mod client;
mod commands;
mod complete;
mod conditions;
mod connections;
mod control;
mod credential;
mod cursor_order;
mod docs_link;
mod failure;
mod format;
mod jwt;
mod kubernetes;
mod latencies;
mod load;
mod measured;
mod metrics;
mod ndjson;
mod output;
mod printable;
mod problem;
mod rates;
mod report;
mod retry;
mod stream;
mod target;
mod text;

use std::{ffi::OsString, process::ExitCode};

use clap::FromArgMatches as _;

use args::Command;
use commands::{
    bench, completion, drain, history, kick, log_level, man, publish, stats, status, subscribe,
    ticket, token, top,
};
use failure::{EXIT_FAILED, EXIT_USAGE, Failure};

/// Runs the command line `words`, the first of which is the name of the program.
#[must_use]
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    let name = args::program_name(words.first());
    let command = arguments::without_empty_variables(args::command(name));
    let parsed = command.try_get_matches_from(arguments::cluster_last(words));
    let args = match parsed.and_then(|matches| args::Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => {
            // If nobody reads the help, there is nothing left to do.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")))
        .and_then(|runtime| {
            let ended = runtime.block_on(dispatch(args.command));
            // A thread may still wait for standard input.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => complain(name, &message, EXIT_USAGE),
        Err(Failure::Failed(message)) => complain(name, &message, EXIT_FAILED),
    }
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    // Shells and pages of the manual know the program by its file, not as a plugin of kubectl.
    let program = || args::command("eventcast");
    match command {
        Command::Sub(options) => subscribe::run(options).await,
        Command::Pub(options) => publish::run(options).await,
        Command::History(options) => history::run(options).await,
        Command::Stats(options) => stats::run(options).await,
        Command::Ticket(options) => ticket::run(options).await,
        Command::Status(options) => status::run(options).await,
        Command::Check(options) => commands::check::run(options).await,
        Command::Token(options) => token::run(options).await,
        Command::Top(options) => top::run(options).await,
        Command::Connections(options) => commands::connections::run(options).await,
        Command::Kick(options) => kick::run(options).await,
        Command::LogLevel(options) => log_level::run(options).await,
        Command::Drain(options) => drain::run(options).await,
        Command::Bench(options) => bench::bench(options).await,
        Command::Latency(options) => bench::latency(options).await,
        Command::Report(options) => commands::report::run(options).await,
        Command::Complete(words) => {
            completion::candidates(&words, &args::command("kubectl eventcast"))
        }
        Command::Completion(options) => completion::run(&options, program()),
        Command::Man(options) => man::run(&options, program()),
    }
}

fn complain(name: &str, message: &str, code: u8) -> ExitCode {
    output::note(&format!("{name}: {message}"));
    ExitCode::from(code)
}
