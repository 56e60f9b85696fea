//! The documents' commands for `kubectl` that need nothing but the API server: resources, fields, selectors and patches in them are accepted. What
//! they would change stays as it is.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    init_tracing,
    kube::{ApiServer, program},
    namespace::install_crd,
    process::{find_on_path, folder},
    repository,
};
use futures_util::{TryStreamExt as _, stream};
use serde_json::json;
use tokio::process::Command;

/// What pages ask their reader to set, and variables that commands set.
const VARIABLES: &str = "ns=default ch=demo sys=eventcast-system rel=eventcast secret=orders-tls";
/// The channels that pages speak of.
const CHANNELS: [(&str, &str); 4] =
    [("default", "demo"), ("default", "orders"), ("default", "scores"), ("shop", "orders")];
const READ: [&str; 4] = ["get", "describe", "explain", "auth"];
const CHANGE: [&str; 4] = ["annotate", "create", "patch", "scale"];
/// What the cluster of the tests does not have, and commands that name something by another one's output or go on.
const LEFT_OUT: [&str; 5] = ["certificate", "…", " create secret ", " create token ", " -w "];

/// The commands of a page, in blocks and in the text: each from `kubectl` to the end of the command.
fn commands(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fence = None;
    for line in page.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language) };
            continue;
        }
        let pieces: Vec<&str> = match fence {
            None => line.split('`').skip(1).step_by(2).collect(),
            Some("" | "sh") => vec![line],
            Some("console") => line.strip_prefix("$ ").into_iter().collect(),
            Some(_) => continue,
        };
        for piece in pieces {
            let piece = piece.split(" #").next().unwrap_or_default();
            for (start, _) in piece.match_indices("kubectl ") {
                let before = &piece[..start];
                if before.ends_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_') {
                    continue;
                }
                let command = &piece[start..];
                let inside = before.ends_with("$(");
                let end = command.rfind(')').filter(|_| inside);
                let command = &command[..end.unwrap_or(command.len())];
                let ends = [" | ", " && ", " > ", " &"];
                let end = ends.iter().filter_map(|end| command.find(end)).min();
                found.push(command[..end.unwrap_or(command.len())].trim().to_owned());
            }
        }
    }
    found
}

/// The first word that is neither an option nor the value of `-n`.
fn verb(command: &str) -> &str {
    let mut words = command.split_whitespace().skip(1);
    while let Some(word) = words.next() {
        match word {
            "-n" => {
                words.next();
            }
            word if !word.starts_with('-') => return word,
            _ => {}
        }
    }
    ""
}

/// The pages that a reader follows. Decisions and changes tell what was.
fn pages(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !["adr", "node_modules", "reference"].contains(&name.as_str()) {
            pages(&path, found)?;
        } else if name.ends_with(".md") {
            found.push(fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_api_server_accepts_the_commands_of_the_documents() -> Result<()> {
    init_tracing();
    let cluster = ApiServer::shared().await?;
    install_crd(&cluster).await?;
    let channels = CHANNELS.map(|(namespace, name)| {
        json!({
            "apiVersion": "eventcast.dev/v1alpha1", "kind": "EventChannel", "spec": {},
            "metadata": {"namespace": namespace, "name": name, "annotations": {"eventcast.dev/paused": "true"}},
        })
    });
    let mut objects =
        vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})];
    objects.extend(channels);
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
    let applied = cluster.kubectl(&["apply", "--server-side", "-f", "-"], Some(&objects)).await?;
    ensure!(applied.status.success(), "{applied:?}");

    let mut texts = vec![fs::read_to_string(repository().join("README.md"))?];
    pages(&repository().join("docs"), &mut texts)?;
    let mut all: Vec<String> = texts.iter().flat_map(|text| commands(text)).collect();
    all.retain(|command| {
        let verb = verb(command);
        // `kubectl describe` and the like are names of commands
        let reads = READ.contains(&verb) && command.split_whitespace().count() > 2;
        let changes = CHANGE.contains(&verb) && command.contains('=');
        (reads || changes) && !LEFT_OUT.iter().any(|part| command.contains(part))
    });
    all.sort();
    all.dedup();
    ensure!(all.len() > 60, "only {all:#?}");

    let bash = find_on_path("bash").context("no bash")?;
    let kubectl = program("kubectl");
    let (config, cache_folder) = (cluster.admin_kubeconfig(), folder("eventcast-kubectl-")?);
    let (bash, kubectl, config, cache) = (&bash, &kubectl, &config, cache_folder.path());
    stream::iter(all.into_iter().map(Ok))
        .try_for_each_concurrent(4, |command: String| async move {
            let dry_run = if CHANGE.contains(&verb(&command)) { " --dry-run=server" } else { "" };
            let rest = command.strip_prefix("kubectl").unwrap_or_default();
            let script = format!("{VARIABLES}\n'{}'{rest}{dry_run}", kubectl.display());
            let mut run = Command::new(bash);
            run.args(["-ec", &script]).env("KUBECONFIG", config).env("KUBECACHEDIR", cache);
            run.kill_on_drop(true);
            let done = run.output().await?;
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            // objects that no operator has made here, and an answer of `auth can-i`
            let is_missing = said.contains("(NotFound)") || verb(&command) == "auth";
            let is_missing = is_missing && !said.contains("error:");
            let is_missing = is_missing || said.contains("no objects passed to scale");
            ensure!(done.status.success() || is_missing, "{command}: {said}");
            anyhow::Ok(())
        })
        .await
}
