//! An adapter of `tests/clients` as a child process. It writes to a file, which is read on as it grows.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{Entry, Line, Source};
use crate::{
    process::{self, Process},
    repository,
};

/// A running adapter.
#[derive(Debug)]
pub struct Adapter {
    name: String,
    process: Process,
    output: File,
    rest: Vec<u8>,
    stopping: bool,
}

impl Adapter {
    /// Starts an adapter with `environment` (`NAME=VALUE`); its files go to a folder of its own in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        entry: &Entry,
        arguments: &[&str],
        environment: &[&str],
        folder: &Path,
    ) -> Result<Self> {
        let folder = folder.join(&entry.name);
        fs::create_dir_all(&folder)?;
        // the profile of a browser that had to be killed goes with the folder
        let temporary = format!("TMPDIR={}", folder.display());
        let root = repository().canonicalize()?;
        let mut command: Vec<&str> = vec!["-C", root.to_str().context("the path is not UTF-8")?];
        command.extend(["NO_PROXY=*", "no_proxy=*", &temporary]);
        command.extend(environment);
        command.extend(entry.command.iter().map(String::as_str));
        command.extend(arguments);
        let env = process::find_on_path("env").context("there is no env")?;
        let process = Process::spawn(&entry.name, &env, &command, &folder)?;
        let output: PathBuf = folder.join(format!("{}.out", entry.name));
        let output = File::open(output).context("no output")?;
        Ok(Self { name: entry.name.clone(), process, output, rest: Vec::new(), stopping: false })
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exited()
    }

    /// Everything it wrote to its standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// The lines of text since the last call.
    ///
    /// # Errors
    /// When the file cannot be read, or is no text.
    pub fn text_lines(&mut self) -> Result<Vec<String>> {
        self.output.read_to_end(&mut self.rest)?;
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        let text = String::from_utf8(whole).context("not UTF-8")?;
        Ok(text.split_terminator('\n').map(str::to_owned).collect())
    }
}

impl Source for Adapter {
    fn lines(&mut self) -> Result<Vec<Line>> {
        let status = self.process.exited()?;
        let mut lines = Vec::new();
        for text in self.text_lines()? {
            let line = serde_json::from_str(&text);
            lines.push(line.with_context(|| format!("{} said {text:?}", self.name))?);
        }
        // asked before the reading, so that nothing it said at its end is missed
        if let Some(status) = status {
            ensure!(
                status.success(),
                "{} ended with {status}: {}",
                self.name,
                process::tail(&self.stderr(), 20)
            );
        }
        Ok(lines)
    }
    /// By `SIGTERM`: after `SIGKILL` a browser dies too, but leaves its profile.
    fn stop(&mut self) -> Result<bool> {
        let gone = self.process.exited()?.is_some();
        if !gone && !self.stopping {
            self.stopping = true;
            self.process.signal(Signal::TERM)?;
        }
        Ok(gone)
    }
}
