//! The built programs as a person, a script or a unit file runs them: any command line, any environment.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::setup;
use crate::{
    nats,
    process::{self, Process, find_on_path},
};

/// A command line of a program.
#[derive(Clone, Debug)]
pub struct Cli {
    program: PathBuf,
    environment: Vec<OsString>,
    arguments: Vec<OsString>,
}

/// What an ended run leaves.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Cli {
    /// The broker with these arguments and the environment of the test.
    pub fn new<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        Self::of(setup::binary(), arguments)
    }

    /// `eventcast` with these arguments and the environment of the test.
    pub fn eventcast<A: AsRef<OsStr>>(arguments: &[A]) -> Self {
        Self::of(process::built("eventcast"), arguments)
    }

    fn of<A: AsRef<OsStr>>(program: PathBuf, arguments: &[A]) -> Self {
        let arguments = arguments.iter().map(|a| a.as_ref().to_owned()).collect();
        Self { program, environment: Vec::new(), arguments }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let mut entry = OsString::from(format!("{name}="));
        entry.push(value);
        self.environment.push(entry);
        self
    }

    /// Removes an environment variable; must be called before any is set.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.environment.extend(["-u".into(), name.into()]);
        self
    }

    /// Lets `dev` start the nats-server that the suites use.
    #[must_use]
    pub fn with_nats(self) -> Self {
        self.env("EVENTCAST_NATS_SERVER", nats::binary())
    }

    /// Starts it; its output goes to `<name>.out` and `<name>.log` in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, name: &str, folder: &Path) -> Result<Process> {
        let env = find_on_path("env").unwrap_or_else(|| PathBuf::from("/usr/bin/env"));
        let program = [self.program.clone().into_os_string()];
        let words = [&self.environment[..], &program[..], &self.arguments[..]].concat();
        Process::spawn(name, &env, &words, folder)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub async fn output(&self, within: Duration) -> Result<Ended> {
        let folder = process::folder("eventcast-cli-")?;
        let mut process = self.spawn("cli", folder.path())?;
        let status = process.wait_exit(within).await.with_context(|| {
            format!("{:?} said\n{}{}", self.arguments, process.stdout(), process.stderr())
        })?;
        Ok(Ended { status, stdout: process.stdout(), stderr: process.stderr() })
    }
}
