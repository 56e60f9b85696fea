//! What is read differently from how clap does it: empty variables, and options in front of the command.

use std::{env, ffi::OsString};

use clap::{
    Command,
    builder::{OsStr, Resettable},
};

/// The options of a cluster that may also stand in front of the command, as with kubectl. Each has a value.
const OF_CLUSTER: [&str; 4] = ["-n", "--namespace", "--context", "--kubeconfig"];

/// An empty variable is none, as for other programs. clap takes it for a value, so `EVENTCAST_CA_FILE=` would be a file without a name.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        let is_empty = value.is_some_and(|value| value.is_empty());
        if is_empty { arg.env(Resettable::<OsStr>::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Moves the options of a cluster that stand in front of the command to the end.
pub(crate) fn cluster_last(words: Vec<OsString>) -> Vec<OsString> {
    let mut words = words.into_iter();
    let mut kept: Vec<OsString> = words.by_ref().take(1).collect();
    let mut moved = Vec::new();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let is_option = OF_CLUSTER.contains(&&*text);
        let has_value = OF_CLUSTER[1..]
            .iter()
            .any(|name| text.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
            || !text.starts_with("--") && text.len() > 2 && text.starts_with("-n");
        if is_option {
            moved.push(word);
            moved.extend(words.next());
        } else if has_value {
            moved.push(word);
        } else {
            kept.push(word);
            break;
        }
    }
    kept.extend(words);
    // behind `--` everything is a value
    let end = kept.iter().position(|word| word == "--").unwrap_or(kept.len());
    kept.splice(end..end, moved);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_cluster_may_stand_in_front_of_the_command() {
        let moved = |line: &str| {
            let words = line.split(' ').map(OsString::from).collect();
            cluster_last(words)
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (line, expected) in [
            ("eventcast status demo -n a", "eventcast status demo -n a"),
            ("eventcast -n a status demo", "eventcast status demo -n a"),
            (
                "eventcast -na --context=b token check demo",
                "eventcast token check demo -na --context=b",
            ),
            (
                "eventcast --kubeconfig c --namespace a pub demo -- -d",
                "eventcast pub demo --kubeconfig c --namespace a -- -d",
            ),
            ("eventcast --version", "eventcast --version"),
            ("eventcast --nonsense -n a status", "eventcast --nonsense -n a status"),
            ("eventcast -n", "eventcast -n"),
            ("eventcast", "eventcast"),
        ] {
            assert_eq!(moved(line), expected);
        }
    }
}
