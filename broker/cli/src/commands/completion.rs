//! `eventcast completion`, and `eventcast __complete`, which kubectl asks.

use clap::ValueEnum;
use clap_complete::Shell;

use crate::{complete::complete, failure::Failure, output};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The shell. In bash: `source <(eventcast completion bash)`. `kubectl` prints kubectl_complete-eventcast, a file for PATH.
    #[arg(value_enum)]
    shell: CompletionTarget,
}

/// What completes commands.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompletionTarget {
    Bash,
    Elvish,
    Fish,
    Kubectl,
    Powershell,
    Zsh,
}

/// What kubectl starts to complete the words after `kubectl eventcast`.
const KUBECTL_COMPLETE: &str = "\
#!/bin/sh
# Completes `kubectl eventcast` in the shells that complete kubectl. Put it into PATH as kubectl_complete-eventcast, and make it executable.
exec kubectl-eventcast __complete \"$@\"
";

/// Prints the script for `program`.
pub(crate) fn run(options: &Options, mut program: clap::Command) -> Result<(), Failure> {
    let shell = match options.shell {
        CompletionTarget::Kubectl => return output::print(KUBECTL_COMPLETE),
        CompletionTarget::Bash => Shell::Bash,
        CompletionTarget::Elvish => Shell::Elvish,
        CompletionTarget::Fish => Shell::Fish,
        CompletionTarget::Powershell => Shell::PowerShell,
        CompletionTarget::Zsh => Shell::Zsh,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "eventcast", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Words {
    /// The words after the name of the program; the last one is to be completed.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// Prints candidates for the last word.
pub(crate) fn candidates(options: &Words, program: &clap::Command) -> Result<(), Failure> {
    output::print(&complete(program, &options.words))
}
