//! The command line. Every option that says where a channel is, is an environment variable too.

use std::{ffi::OsString, path::Path};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    bench, check, completion, connections, drain, history, kick, log_level, man, publish, report,
    stats, status, subscribe, ticket, token, top,
};

/// Subscribe to channels, publish to them, and look into them.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  export EVENTCAST_URL=http://127.0.0.1:8080
  eventcast sub default/demo --topic 'user.*'
  eventcast pub default/demo --topic user.42 --type greeting -d hello
  eventcast history default/demo --from -10m -o jsonl

Exit codes: 0, 1 (it failed, or the result is not complete), 64 (invalid command line).";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Print the events of a channel as they arrive; reconnects by itself.
    #[command(visible_alias = "subscribe")]
    Sub(subscribe::Options),
    /// Publish an event, or many.
    #[command(visible_alias = "publish")]
    Pub(publish::Options),
    /// Print past events.
    History(history::Options),
    /// Count events by type, topic, source and time.
    Stats(stats::Options),
    /// Exchange a token for a ticket: a URL that EventSource or curl can open.
    Ticket(ticket::Options),
    /// Show the conditions of a channel, its brokers and its Events, and what to do.
    Status(status::Options),
    /// Check a cluster, a channel and its stream, and say what is wrong.
    Check(check::Options),
    /// Look at a token, or sign one for development.
    Token(token::Options),
    /// Show what channels do: subscribers, events, bytes, latency, losses.
    Top(top::Options),
    /// List the open streams of a channel: who, since when, how far behind.
    Connections(connections::Options),
    /// Close streams. Their clients may come back: to lock somebody out, revoke the credential.
    Kick(kick::Options),
    /// Show or replace the log filter of the brokers of a channel, or of the operator, while they run.
    LogLevel(log_level::Options),
    /// Let one broker close its streams at an even pace and end, as a rollout does. Kubernetes starts it again.
    Drain(drain::Options),
    /// Measure how long events take with many subscribers, and whether all arrive.
    Bench(bench::Bench),
    /// Measure how long events take from a publish to a subscriber.
    Latency(bench::Latency),
    /// Write what the cause of a problem can be found with into a zip: objects, status, logs, metrics; no Secrets, no events.
    Report(report::Options),
    /// Print a script that completes commands in a shell.
    Completion(completion::Options),
    /// Print the manual page, or write those of all commands.
    Man(man::Options),
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete(completion::Words),
}

/// The name that help and errors show: kubectl starts `kubectl-eventcast` for `kubectl eventcast`.
pub(crate) fn program_name(program: Option<&OsString>) -> &'static str {
    let file = program.and_then(|program| Path::new(program).file_stem());
    if file.is_some_and(|name| name == "kubectl-eventcast") {
        "kubectl eventcast"
    } else {
        "eventcast"
    }
}

/// The command line of a program of this name.
pub(crate) fn command(name: &'static str) -> clap::Command {
    let command = Args::command().name(name).bin_name(name).subcommand_required(true);
    command.after_help(AFTER_HELP.replace("  eventcast ", &format!("  {name} ")))
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;
    use expect_test::expect_file;

    use super::*;
    use crate::complete::complete;

    #[test]
    fn the_command_line_is_consistent() {
        command("eventcast").debug_assert();
    }

    #[test]
    fn help_names_the_program_as_it_was_called() {
        let name = |path: &str| program_name(Some(&path.into()));
        assert_eq!(name("/usr/bin/eventcast"), "eventcast");
        assert_eq!(name("/x/kubectl-eventcast"), "kubectl eventcast");
        let error = command(name("kubectl-eventcast"))
            .try_get_matches_from(["kubectl-eventcast", "sub", "--help"])
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
        assert!(error.to_string().contains("Usage: kubectl eventcast sub"), "{error}");
    }

    /// What stands before the help of all commands.
    const REFERENCE: &str = "# All commands and options

The help of `eventcast` and its commands. What they are for: [The command line](../CLI.md). Generated from the code by `make docs`.
";

    fn describe(command: &mut clap::Command, out: &mut String) {
        let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
        let help = command.clone().term_width(0).render_long_help().to_string();
        let lines: Vec<_> = help.trim().lines().map(str::trim_end).collect();
        *out += &format!("\n## {name}\n\n```text\n{}\n```\n", lines.join("\n"));
        for below in command.get_subcommands_mut().filter(|below| !below.is_hide_set()) {
            if below.get_name() != "help" {
                describe(below, out);
            }
        }
    }

    /// `docs/reference/cli.md` has the help of every command. `make docs` writes it.
    #[test]
    fn the_reference_is_up_to_date() {
        let mut root = command("eventcast");
        root.build();
        let mut text = REFERENCE.to_owned();
        describe(&mut root, &mut text);
        expect_file!["../../../docs/reference/cli.md"].assert_eq(&text);
    }

    fn complete_line(line: &str) -> Vec<String> {
        let program = command("kubectl eventcast");
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        complete(&program, &words).lines().map(str::to_owned).collect()
    }

    fn names(line: &str) -> Vec<String> {
        let lines = complete_line(line);
        lines.iter().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn commands_options_and_values_are_candidates() {
        assert_eq!(names("st"), ["stats", "status", ":4"]);
        assert_eq!(names("connections --sl"), ["--slow", ":4"]);
        assert_eq!(names("connections -o j"), ["json", "jsonl", ":4"]);
        assert_eq!(names("connections --output wi"), ["wide", ":4"]);
        assert_eq!(names("token ch"), ["check", ":4"]);
        assert_eq!(names("connections -n shop --sub"), ["--subject", ":4"]);
        assert_eq!(names("pub demo -f "), [":0"]);
        assert_eq!(names("sub "), [":4"], "nothing is known of channels");
        assert!(names("").contains(&"connections".to_owned()));
        assert!(!names("").iter().any(|name| name.starts_with("__")), "hidden");
        assert!(complete_line("sta")[0].starts_with("stats\tCount events"));
    }
}
