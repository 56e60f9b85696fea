//! Faults inside a running program: a listener that breaks, and a critical task that panics.

use std::{
    fs,
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Stops the socket that process `pid` listens on at `port` from listening, behind the back of the process: its next accept fails.
///
/// # Errors
/// When it does not listen there, or this user may not touch its files.
pub fn break_listener(pid: u32, port: u16) -> Result<()> {
    let inode = listening_inode(port)?;
    let socket = format!("socket:[{inode}]");
    let is_it = |path: &Path| fs::read_link(path).is_ok_and(|to| to.as_os_str() == &*socket);
    let mut files = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().map(|file| file.path());
    let file = files.find(|path| is_it(path)).context("the process does not listen there")?;
    let number = file.file_name().and_then(|name| name.to_str()).context("no number")?.parse()?;
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no pid")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let file = pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
    TcpStream::from(file).shutdown(Shutdown::Both).context("failed to shut the listener down")
}

/// The inode of the socket that listens on `port`, of either family.
fn listening_inode(port: u16) -> Result<u64> {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/net/tcp")? + &fs::read_to_string("/proc/net/tcp6")?;
    let end = format!(":{port:04X}");
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1).is_some_and(|a| a.ends_with(&end)) && row[3] == LISTEN);
    let row = row.with_context(|| format!("nobody listens on {port}"))?;
    row.get(9).context("no inode")?.parse().context("no inode")
}

/// The way to let a critical task of a program panic: builds with debug assertions watch the file that `EVENTCAST_FAULT_FILE` names.
#[derive(Debug)]
pub struct FaultFile(PathBuf);

impl FaultFile {
    /// The variable that a program is started with.
    pub const VARIABLE: &str = "EVENTCAST_FAULT_FILE";

    /// In `folder`, without a fault so far.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("faults"))
    }

    /// The value of the variable.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the task panic.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn panic(&self, task: &str) -> Result<()> {
        fs::write(&self.0, task).context("failed to write the faults")
    }
}
