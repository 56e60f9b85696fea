//! The recipes of `docs/CLIENTS.md` whose tool chains are here, taken from the document: each delivers every event once, although its
//! broker is killed and started again.

mod rust;

use std::{fs, future::ready, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    broker::Broker,
    clients::entries,
    eventually,
    http::{Publish, Version, client},
    init_tracing,
    nats::NatsServer,
    process::{self, Process},
    repository,
};
use parking_lot::Mutex;
use tempfile::TempDir;

/// The start of a program, or its reconnect after some failures.
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);
/// Compiling a program in Go.
const BUILD_TIMEOUT: Duration = Duration::from_secs(90);
/// The URL in all recipes.
const SHOWN_URL: &str = "http://127.0.0.1:8080/channels/default/demo/events";

/// The first block of this language below a heading of the document.
fn recipe(heading: &str, language: &str) -> Result<String> {
    let text = fs::read_to_string(repository().join("docs/CLIENTS.md"))?;
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).context("no such heading")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let (_, block) = section.split_once(&format!("```{language}\n")).context("no such block")?;
    Ok(block.split("```").next().unwrap_or_default().to_owned())
}

/// A broker that a recipe reads from, with a folder for the program.
struct RecipeSetup {
    folder: TempDir,
    nats: NatsServer,
    broker: Broker,
}

impl RecipeSetup {
    async fn new() -> Result<Self> {
        init_tracing();
        let nats = NatsServer::start().await?;
        let broker = Broker::start(&nats.url(), |config| {
            config.channels[0].delivery.retry_milliseconds = 1000;
        })
        .await?;
        Ok(Self { folder: process::folder("eventcast-recipe-")?, nats, broker })
    }

    /// Writes a recipe to a file, with the URL of the broker in place of the one that is shown.
    fn write(&self, name: &str, recipe: &str) -> Result<()> {
        ensure!(recipe.contains(SHOWN_URL), "this recipe has another URL");
        let text = recipe.replace(SHOWN_URL, &self.broker.events_url(""));
        Ok(fs::write(self.folder.path().join(name), text)?)
    }

    /// Starts a command in the folder.
    fn start(&self, command: &[&str]) -> Result<Process> {
        let folder = self.folder.path();
        let env = process::find_on_path("env").context("no env")?;
        let mut arguments = vec!["-C", folder.to_str().context("not UTF-8")?, "NO_PROXY=*"];
        arguments.extend(command);
        Process::spawn(command[0].rsplit('/').next().unwrap_or_default(), &env, &arguments, folder)
    }

    /// Runs a command whose lines are `TYPE DATA`, and judges them.
    async fn judge(self, command: &[&str]) -> Result<()> {
        let program = self.start(command)?;
        let lines = || program.stdout().lines().map(str::to_owned).collect();
        let outcome = self.serve(lines).await;
        outcome.with_context(|| format!("{command:?}: {}", program.stderr()))
    }

    /// Publishes events, some of them while the broker is down. Each must come once, in order.
    async fn serve(mut self, lines: impl Fn() -> Vec<String>) -> Result<()> {
        let stays = Broker::start(&self.nats.url(), |_| {}).await?;
        eventually("the program reads", WAIT_TIMEOUT, || self.is_read()).await?;
        let mut expected = Vec::new();
        for number in 0..9 {
            if number == 3 {
                has(&lines, 3).await?;
                self.broker.kill9()?;
            }
            if number == 6 {
                self.broker.restart().await?;
            }
            let data = format!(r#"{{"number":{number}}}"#);
            let publish = Publish::new(data.clone()).kind("order.paid");
            let answer = publish.send(&client(Version::Http1), &stays.events_url("")).await?;
            ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
            expected.push(format!("order.paid {data}"));
        }
        has(&lines, expected.len()).await?;
        ensure!(lines() == expected, "{:?}", lines());
        Ok(())
    }

    async fn is_read(&self) -> Result<()> {
        let streams = self.broker.metrics().await?.metric("eventcast_subscribers", &[]);
        ensure!(streams >= 1.0, "{streams} streams");
        Ok(())
    }
}

async fn has(lines: &impl Fn() -> Vec<String>, count: usize) -> Result<()> {
    eventually("the program has the events", WAIT_TIMEOUT, || {
        let lines = lines();
        ready(if lines.len() >= count { Ok(()) } else { Err(format!("{lines:?}")) })
    })
    .await
}

#[tokio::test]
async fn the_recipe_for_javascript_works() -> Result<()> {
    let setup = RecipeSetup::new().await?;
    let client = repository().join("broker/clients/js/index.js").canonicalize()?;
    let text = recipe("JavaScript", "js")?;
    ensure!(text.contains("\"@eventcast/client\""), "another package");
    let text = text.replace("@eventcast/client", client.to_str().context("not UTF-8")?);
    setup.write("recipe.mjs", &text)?;
    setup.judge(&["node", "recipe.mjs"]).await
}

#[tokio::test]
async fn the_recipe_for_python_works() -> Result<()> {
    let setup = RecipeSetup::new().await?;
    let python = entries("python")?.swap_remove(0).command.swap_remove(0);
    // not its target: the environment is where the link is
    let python = std::path::absolute(repository().join(python))?;
    setup.write("recipe.py", &recipe("Python", "python")?)?;
    setup.judge(&[python.to_str().context("not UTF-8")?, "recipe.py"]).await
}

#[tokio::test]
async fn the_recipe_for_go_works() -> Result<()> {
    let setup = RecipeSetup::new().await?;
    entries("go")?; // with their modules
    for file in ["go.mod", "go.sum"] {
        let from = repository().join("tests/clients/go").join(file);
        fs::copy(from, setup.folder.path().join(file))?;
    }
    setup.write("recipe.go", &recipe("Go", "go")?)?;
    let build = ["CGO_ENABLED=0", "go", "build", "-buildvcs=false", "-o", "recipe", "."];
    let mut build = setup.start(&build)?;
    let status = build.wait_exit(BUILD_TIMEOUT).await?;
    ensure!(status.success(), "{}", build.stderr());
    setup.judge(&["./recipe"]).await
}

#[tokio::test]
async fn the_recipe_for_curl_works() -> Result<()> {
    let setup = RecipeSetup::new().await?;
    setup.write("recipe.sh", &recipe("curl", "sh")?)?;
    setup.judge(&["sh", "recipe.sh"]).await
}

#[tokio::test]
async fn the_recipe_for_rust_works() -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browsers/recipes/rust.rs");
    let text = fs::read_to_string(file)?;
    ensure!(text.ends_with(&recipe("Rust", "rust")?), "the document shows another program");
    let setup = RecipeSetup::new().await?;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (url, written) = (setup.broker.events_url(""), Arc::clone(&lines));
    let program = tokio::spawn(async move {
        rust::follow(&url, |kind, data| written.lock().push(format!("{kind} {data}"))).await
    });
    setup.serve(|| lines.lock().clone()).await?;
    program.abort();
    Ok(())
}
