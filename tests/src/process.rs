//! A child process with its output in files: signals, exit, and the end of its log when a test fails.
//!
//! Children die with the test process, however that ends: they are started through `setpriv --pdeathsig KILL` where that
//! exists. The kernel sends that signal when the *thread* that forked is gone, so one thread that never ends
//! forks for all tests.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually;

/// Lines of a log that a failed test prints.
const LOG_TAIL_LINES: usize = 100;

/// A program of this workspace: the one that its variable names (`EVENTCAST_BROKER` for `eventcast-broker`), or the one that was
/// built beside the test executable's folder.
///
/// # Panics
/// When it was not built, or was built before a source of it changed; the message says what to run.
#[must_use]
pub fn built(program: &str) -> PathBuf {
    let variable = program.to_uppercase().replace('-', "_");
    if let Some(named) = std::env::var_os(&variable).map(PathBuf::from) {
        assert!(named.is_file(), "{variable} is no program: {}", named.display());
        return named;
    }
    let test = std::env::current_exe().expect("a test knows its executable");
    let folder = test.parent().and_then(Path::parent).expect("it lies in target/debug/deps");
    let found = folder.join(program);
    let build = "run `make t T=...`, which builds it, or `cargo build --workspace --bins`";
    assert!(found.is_file(), "no {program} at {}: {build}, or set {variable}", found.display());
    let newer = newer_source(&found).expect("cargo writes which sources a program was built from");
    if let Some(source) = newer {
        panic!("{program} is older than {}: {build}", source.display());
    }
    found
}

/// A source that changed, or went away, after `program` was built from it. Cargo lists the sources of `program` in `program.d`.
fn newer_source(program: &Path) -> Result<Option<PathBuf>> {
    let built = fs::metadata(program)?.modified()?;
    let list = fs::read_to_string(program.with_extension("d"))?;
    let (_, sources) = list.split_once(": ").context("not a dependency file")?;
    // make's form: a blank in a path is escaped
    let sources = sources.trim().replace("\\ ", "\0");
    let is_newer = |source: &PathBuf| {
        let changed = fs::metadata(source).and_then(|metadata| metadata.modified());
        changed.map_or(true, |changed| changed > built)
    };
    let mut sources = sources.split(' ').map(|source| PathBuf::from(source.replace('\0', " ")));
    Ok(sources.find(is_newer))
}

/// A running or ended child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// Whether a thread is stopped by a signal, or has ended.
fn is_stopped(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain any character.
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
}

impl Process {
    /// Starts `program`; its output is appended to `<name>.out` and `<name>.log` in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn<A: AsRef<OsStr>>(
        name: &str,
        program: &Path,
        arguments: &[A],
        folder: &Path,
    ) -> Result<Self> {
        let stdout = folder.join(format!("{name}.out"));
        let stderr = folder.join(format!("{name}.log"));
        let mut command = match find_on_path("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(append(&stdout)?)
            .stderr(append(&stderr)?);
        let child =
            fork(command).with_context(|| format!("failed to start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no such pid")?;
        kill_process(pid, signal).with_context(|| format!("failed to signal {}", self.name))
    }

    /// Pauses it (`SIGSTOP`), and waits until every thread stands still: the signal takes its time, in which a request is answered.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        let tasks = format!("/proc/{}/task", self.pid());
        while !std::fs::read_dir(&tasks)?
            .all(|task| task.is_ok_and(|task| is_stopped(&task.path())))
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Ok(())
    }

    /// `kill -9`, and waits until it is gone. A process that ended before is no error.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill9(&mut self) -> Result<ExitStatus> {
        self.child.kill().with_context(|| format!("failed to kill {}", self.name))?;
        self.child.wait().with_context(|| format!("failed to wait for {}", self.name))
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("failed to ask for {}", self.name))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it is still there after `within`.
    pub async fn wait_exit(&mut self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        eventually(&what, within, || std::future::ready(self.exited().ok().flatten())).await
    }

    /// Everything it wrote to its standard output, earlier runs in the same folder included.
    #[must_use]
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Everything it wrote to its standard error, earlier runs in the same folder included.
    #[must_use]
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Resident memory in bytes.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn rss(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.split_whitespace().next()).context("no VmRSS")?;
        Ok(kib.parse::<u64>()? * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.kill9() {
            tracing::warn!(name = self.name, %error, "child not killed");
        }
        if thread::panicking() || std::env::var_os("EVENTCAST_TEST_LOGS").is_some() {
            eprintln!(
                "--- end of the log of {}\n{}---",
                self.name,
                tail(&self.stderr(), LOG_TAIL_LINES)
            );
        }
    }
}

/// A temporary folder; `EVENTCAST_TEST_KEEP` keeps it, with the logs in it.
///
/// # Errors
/// When it cannot be made.
pub fn folder(prefix: &str) -> Result<TempDir> {
    let keep = std::env::var_os("EVENTCAST_TEST_KEEP").is_some();
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).disable_cleanup(keep);
    builder.tempdir().context("failed to make a temporary folder")
}

/// The last `count` lines of `text`.
#[must_use]
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let kept = &lines[lines.len().saturating_sub(count)..];
    kept.iter().map(|line| format!("{line}\n")).collect()
}

/// A program by its name, as a shell would find it.
#[must_use]
pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn append(file: &Path) -> Result<File> {
    let open = OpenOptions::new().create(true).append(true).open(file);
    open.with_context(|| format!("failed to open {}", file.display()))
}

fn read(file: &Path) -> String {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// A command, and the channel for its child.
type Order = (Command, SyncSender<io::Result<Child>>);

/// Forks in the thread that never ends.
fn fork(command: Command) -> io::Result<Child> {
    static FORKER: OnceLock<SyncSender<Order>> = OnceLock::new();
    let forker = FORKER.get_or_init(|| {
        let (orders, queue) = sync_channel::<Order>(16);
        thread::spawn(move || {
            for (mut command, reply) in queue {
                // nobody waits for the answer only if the test is gone, and then so is the child
                drop(reply.send(command.spawn()));
            }
        });
        orders
    });
    let (reply, answer) = sync_channel(1);
    forker.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_program_that_is_older_than_a_source_is_found_out() {
        let folder = folder("eventcast-built-").unwrap();
        let file = |name: &str| folder.path().join(name);
        let (program, source) = (file("program"), file("a source.rs"));
        for path in [&program, &source] {
            fs::write(path, "").unwrap();
        }
        let escaped = source.display().to_string().replace(' ', "\\ ");
        fs::write(file("program.d"), format!("{}: {escaped}\n", program.display())).unwrap();
        let now = SystemTime::now();
        let touch = |path: &Path, time| {
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap()
        };
        touch(&program, now);
        touch(&source, now - Duration::from_secs(1));
        assert_eq!(newer_source(&program).unwrap(), None);
        touch(&source, now + Duration::from_secs(1));
        assert_eq!(newer_source(&program).unwrap(), Some(source.clone()));
        fs::remove_file(&source).unwrap();
        assert_eq!(newer_source(&program).unwrap(), Some(source));
    }
}
