//! Completions for kubectl, which asks a program named `kubectl_complete-eventcast`: words in, candidates out, in the format of cobra. Pure.
//!
//! One candidate a line, with its description after a tab; the last line tells what the shell adds to them.

use clap::{Arg, Command, ValueHint};

/// The shell adds nothing.
const NO_FILES: &str = ":4";
/// The shell completes file names.
const FILES: &str = ":0";

/// The candidates for the last of `words`, which follow the name of `program`.
pub(crate) fn complete(program: &Command, words: &[String]) -> String {
    let Some((current, before)) = words.split_last() else { return format!("{NO_FILES}\n") };
    let (mut command, mut awaits, mut positionals) = (program, None, 0);
    for word in before {
        if awaits.take().is_some() {
            continue;
        }
        if let Some(option) = option(command, word) {
            awaits = takes_value(option).then_some(option).filter(|_| !word.contains('='));
        } else if let Some(found) = command.find_subcommand(word) {
            (command, positionals) = (found, 0);
        } else if !word.starts_with('-') {
            positionals += 1;
        }
    }
    if let Some(option) = awaits {
        return values(option, current);
    }
    if current.starts_with('-') {
        let options = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let options = options.filter_map(|arg| Some((format!("--{}", arg.get_long()?), help(arg))));
        return candidates(options, current, NO_FILES);
    }
    let mut subcommands = command.get_subcommands().filter(|found| !found.is_hide_set()).peekable();
    if subcommands.peek().is_some() {
        let about = |found: &Command| {
            let about = found.get_about().map(ToString::to_string).unwrap_or_default();
            (found.get_name().to_owned(), about)
        };
        return candidates(subcommands.map(about), current, NO_FILES);
    }
    match command.get_positionals().nth(positionals) {
        Some(positional) => values(positional, current),
        None => format!("{NO_FILES}\n"),
    }
}

/// The option that a word names.
fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or(word);
    command.get_arguments().find(|arg| {
        let is_long = arg.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
        let short = name.strip_prefix('-').filter(|short| !short.starts_with('-'));
        let is_short = arg.get_short().is_some_and(|own| short == Some(own.to_string().as_str()));
        is_long || is_short
    })
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

fn values(arg: &Arg, current: &str) -> String {
    let possible = arg.get_possible_values();
    let values = possible.iter().filter(|value| !value.is_hide_set()).map(|value| {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        (value.get_name().to_owned(), help)
    });
    let is_file = arg.get_value_hint() != ValueHint::Unknown
        || arg
            .get_value_names()
            .is_some_and(|names| names.iter().any(|name| *name == "FILE" || *name == "DIRECTORY"));
    candidates(values, current, if is_file { FILES } else { NO_FILES })
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

fn candidates(
    all: impl Iterator<Item = (String, String)>,
    current: &str,
    directive: &str,
) -> String {
    let fitting = all.filter(|(name, _)| name.starts_with(current));
    let line = |(name, help): (String, String)| {
        let help = help.lines().next().unwrap_or_default().to_owned();
        if help.is_empty() { format!("{name}\n") } else { format!("{name}\t{help}\n") }
    };
    fitting.map(line).collect::<String>() + directive + "\n"
}
