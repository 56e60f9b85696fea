//! `eventcast`, and `kubectl eventcast`: the command line for users and operators of channels.

use std::process::ExitCode;

fn main() -> ExitCode {
    eventcast_cli::run(std::env::args_os())
}
