//! `eventcast completion`.

use clap_complete::Shell;

use crate::{failure::Failure, output};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The shell. In bash: `source <(eventcast completion bash)`.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script for `program`.
pub(crate) fn run(options: &Options, mut program: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut program, "eventcast", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
