//! The descriptions of the API, `docs/openapi.yaml` and `docs/asyncapi.yaml`: they are valid, and a broker does what they say.

mod documents;
mod messages;
mod openmetrics;
mod requests;

use std::{ffi::OsStr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{
    process::{self, Process},
    repository,
};
use serde_json::Value;

/// A document of `docs`.
fn document(name: &str) -> Result<Value> {
    let text = std::fs::read_to_string(repository().join("docs").join(name))?;
    serde_saphyr::from_str(&text).with_context(|| name.to_owned())
}

/// Runs a program of the virtual environment of `tests/api` there, with `variables` (`NAME=VALUE`). It must succeed.
async fn run(
    program: &str,
    variables: &[&str],
    arguments: &[&str],
    within: Duration,
) -> Result<()> {
    let root = repository().canonicalize()?;
    let program = root.join(".tools/api/bin").join(program);
    ensure!(program.is_file(), "run tests/tools/install.sh api-tools");
    let folder = root.join("tests/api");
    let mut command: Vec<&OsStr> = vec!["-C".as_ref(), folder.as_os_str()];
    // requests to a broker on this machine
    command.extend(["NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1"].map(OsStr::new));
    command.extend(variables.iter().map(OsStr::new));
    command.push(program.as_os_str());
    command.extend(arguments.iter().map(OsStr::new));
    let output = process::folder("eventcast-api-")?;
    let env = process::find_on_path("env").context("there is no env")?;
    let mut process = Process::spawn("api", &env, &command, output.path())?;
    let status = process
        .wait_exit(within)
        .await
        .map_err(|error| anyhow::anyhow!("{error}: {}", process::tail(&process.stdout(), 40)))?;
    ensure!(status.success(), "{status}\n{}\n{}", process.stdout(), process.stderr());
    Ok(())
}
