//! The main function of a program: logging, runtime, signals, exit code.

use std::{
    error::Error,
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    Chain,
    signals::Signals,
    supervise::TaskFailed,
    telemetry::{self, LogFormat},
    traces,
};

/// The configuration or the command line is invalid (sysexits.h, `EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// A critical task failed (sysexits.h, `EX_SOFTWARE`).
pub const EXIT_FAILED: u8 = 70;
/// A second signal ended the process without a drain (128 + SIGINT).
pub const EXIT_INTERRUPTED: u8 = 130;

/// How long remaining tasks may take after `main` has returned.
const RUNTIME_SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// A nonzero exit code and the message for standard error.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// The configuration or the command line is invalid.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { code: EXIT_USAGE, message: Chain(&*error.into()).to_string() }
    }

    /// The program could not start, or a critical task failed.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let error = error.into();
        let code = if error.is::<TaskFailed>() { EXIT_FAILED } else { 1 };
        Self { code, message: Chain(&*error).to_string() }
    }
}

/// Writes the output of a command to standard output. A reader that closes it early, such as `head`, has read enough.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// Starts logging and a runtime, runs `main` and reports its failure on standard error.
///
/// The first SIGTERM or SIGINT cancels the token that `main` receives. The second signal ends the process at once.
pub fn run<M, F>(name: &str, log: &str, format: LogFormat, main: M) -> ExitCode
where
    M: FnOnce(CancellationToken) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    let ended = telemetry::start(log, format).map_err(Failure::usage).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::failed)?;
        let ended = runtime.block_on(async {
            let signals = Signals::watch().map_err(Failure::failed)?;
            tokio::select! {
                ended = with_traces(main(signals.shutdown)) => ended,
                () = signals.now.cancelled() => Err(interrupted()),
            }
        });
        // Drops the remaining tasks. A child process is killed with the task that owns it.
        runtime.shutdown_timeout(RUNTIME_SHUTDOWN_TIMEOUT);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            for line in message.lines() {
                eprintln!("{name}: {line}");
            }
            ExitCode::from(code)
        }
    }
}

/// Exports the last spans after `main`.
async fn with_traces<T>(main: impl Future<Output = T>) -> T {
    let ended = main.await;
    traces::flush().await;
    ended
}

fn interrupted() -> Failure {
    let message = "interrupted by a second signal before the shutdown was complete";
    Failure { code: EXIT_INTERRUPTED, message: message.into() }
}
