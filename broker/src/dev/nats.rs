//! The nats-server process of `eventcast-broker dev`: finds the program, starts it, restarts it when it exits, and stops it.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use eventcast_runtime::{Chain, nats, restarts::Restarts, supervise::Supervisor};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    process::{Child, Command},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Failure, Options};

const DEFAULT_NATS_PORT: u16 = 4222;
/// How long nats-server may take to exit after SIGTERM.
const NATS_STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nats-server may take to start. Recovering a large store takes time.
const NATS_START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait before the first restart. Each further restart doubles it.
const FIRST_RESTART_PAUSE: Duration = Duration::from_millis(250);

/// A nats-server process that is restarted when it exits.
pub(super) struct NatsChild {
    port: u16,
    folder: PathBuf,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
    /// Locks the data directory for this process.
    _lock: File,
}

impl NatsChild {
    pub(super) async fn start(options: &Options, supervisor: &Supervisor) -> Result<Self, Failure> {
        let program = find(options.nats_server.as_deref())?;
        check_version(&program).await?;
        let folder = data_folder(options)?;
        let (folder, lock) = spawn_blocking(move || create_and_lock(&folder)).await??;
        stop_orphan(&folder).await;
        let (child, port) = start_on_a_port(&program, &folder).await?;
        let stop = CancellationToken::new();
        let keeper = keep_running(child, program, folder.clone(), stop.clone());
        let keeper = supervisor.spawn("nats-server", &stop, keeper);
        Ok(Self { port, folder, stop, keeper, _lock: lock })
    }

    pub(super) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(super) fn describe(&self) -> String {
        format!("{}, events in {}", self.url(), self.folder.display())
    }

    /// Stops the server. Acknowledged events are on disk.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.keeper.await.is_err() {
            tracing::warn!("the supervising task of nats-server failed");
        }
    }
}

/// Finds nats-server: the named file, else in PATH, else in the tool directory of the repository.
fn find(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        if path.is_file() {
            return Ok(path.into());
        }
        return Err(format!(
            "no nats-server at {}: correct --nats-server or EVENTCAST_NATS_SERVER",
            path.display()
        )
        .into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(".tools/bin")]);
    let found = folders.map(|f| f.join("nats-server")).find(|p| p.is_file());
    found.ok_or_else(|| {
        "no nats-server in PATH: run `make tools`, or install it and set EVENTCAST_NATS_SERVER, or use a running one \
         with --nats-url"
            .into()
    })
}

async fn check_version(program: &Path) -> Result<(), Failure> {
    let output = Command::new(program).arg("--version").output().await;
    let output = output.map_err(|e| format!("cannot run {}: {e}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let version = text.rsplit(['v', ' ']).next().unwrap_or_default();
    nats::check_version(version).map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(())
}

/// The data directory.
///
/// # Errors
/// None is given, and there is no home directory.
pub(super) fn data_folder(options: &Options) -> Result<PathBuf, Failure> {
    if let Some(folder) = &options.data_dir {
        return Ok(folder.clone());
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/state"));
    let base = state.or_else(home).ok_or("HOME is not set: use --data-dir")?;
    Ok(base.join("eventcast"))
}

/// Creates the data directory and locks it for this process.
fn create_and_lock(folder: &Path) -> Result<(PathBuf, File), Failure> {
    let at = |e: std::io::Error| {
        format!("cannot use {}: {e}; choose another directory with --data-dir", folder.display())
    };
    std::fs::create_dir_all(folder).map_err(at)?;
    let folder = folder.canonicalize().map_err(at)?;
    let lock = lock(&folder)?;
    Ok((folder, lock))
}

fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("lock");
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
    if file.try_lock().is_err() {
        let mut pid = String::new();
        let process = match file.read_to_string(&mut pid) {
            Ok(n) if n > 0 => format!(" (process {})", pid.trim()),
            _ => String::new(),
        };
        let folder = folder.display();
        return Err(format!(
            "{folder} is in use by another instance{process}: stop it, or choose another directory with --data-dir"
        )
        .into());
    }
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Stops a nats-server that still uses the store after its broker was killed.
async fn stop_orphan(folder: &Path) {
    let text = tokio::fs::read_to_string(folder.join("nats.pid")).await.unwrap_or_default();
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else {
        return;
    };
    let command = tokio::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).await;
    let command = command.unwrap_or_default();
    let config = folder.join("nats.conf").display().to_string();
    if !String::from_utf8_lossy(&command).contains(&config) {
        return; // the process id was reused
    }
    tracing::info!(pid = pid.as_raw_nonzero(), "stopping the nats-server of an earlier run");
    for signal in [Signal::TERM, Signal::KILL] {
        if kill_process(pid, signal).is_err() {
            return;
        }
        for _ in 0..100 {
            if test_kill_process(pid).is_err() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Starts the server on the default port, or on a free one. Another process may take the port in between, so the server that
/// answers there must have the name of the started one.
async fn start_on_a_port(program: &Path, folder: &Path) -> Result<(Child, u16), Failure> {
    for port in [DEFAULT_NATS_PORT, 0, 0, 0] {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let Ok(port) = bound.and_then(|l| l.local_addr()).map(|a| a.port()) else { continue };
        let name = format!("eventcast-dev-{}-{port}", std::process::id());
        let config = format!(
            "listen: 127.0.0.1:{port}\nserver_name: {name}\nmax_payload: 9MB\n\
             jetstream {{\n  store_dir: {:?}\n  sync_interval: always\n}}\n",
            folder.join("nats").display().to_string()
        );
        tokio::fs::write(folder.join("nats.conf"), config).await?;
        let mut child = spawn(program, folder).await?;
        let answers = async {
            while child.try_wait().is_ok_and(|exited| exited.is_none()) {
                if has_name(port, &name).await {
                    return true;
                }
                sleep(Duration::from_millis(20)).await;
            }
            false
        };
        if timeout(NATS_START_TIMEOUT, answers).await.unwrap_or(false) {
            return Ok((child, port));
        }
    }
    let log = folder.join("nats.log");
    Err(format!("nats-server does not start; see {}", log.display()).into())
}

/// Whether the server at `port` has the name `name`, according to its INFO.
async fn has_name(port: u16, name: &str) -> bool {
    let ask = async {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let mut info = vec![0; 4096];
        let n = socket.read(&mut info).await.ok()?;
        Some(String::from_utf8_lossy(&info[..n]).contains(&format!("\"server_name\":\"{name}\"")))
    };
    timeout(Duration::from_secs(1), ask).await.ok().flatten().unwrap_or(false)
}

async fn spawn(program: &Path, folder: &Path) -> std::io::Result<Child> {
    let mut log = tokio::fs::File::options();
    let log = log.create(true).append(true).open(folder.join("nats.log")).await?;
    let log = log.into_std().await;
    let child = Command::new(program)
        .arg("--config")
        .arg(folder.join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C must reach the broker only. It stops the server after the drain.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    if let Some(pid) = child.id() {
        tokio::fs::write(folder.join("nats.pid"), pid.to_string()).await?;
    }
    Ok(child)
}

/// The server exits repeatedly. Most likely its directory or its port is unavailable.
#[derive(Debug, thiserror::Error)]
#[error("exited too often within a minute, most recently: {why}; see {log}")]
struct ExitsRepeatedly {
    why: String,
    log: String,
}

/// Restarts the server whenever it exits, until `stop`.
async fn keep_running(
    mut child: Child,
    program: PathBuf,
    folder: PathBuf,
    stop: CancellationToken,
) -> Result<(), ExitsRepeatedly> {
    let log = folder.join("nats.log").display().to_string();
    let mut restarts = Restarts::new(FIRST_RESTART_PAUSE);
    loop {
        let exited: std::io::Result<ExitStatus> = tokio::select! {
            exited = child.wait() => exited,
            () = stop.cancelled() => {
                terminate(child).await;
                return Ok(());
            }
        };
        let mut why = match exited {
            Ok(status) => status.to_string(),
            Err(error) => Chain(&error).to_string(),
        };
        loop {
            let Some(pause) = restarts.after_failure(Instant::now()) else {
                return Err(ExitsRepeatedly { why, log });
            };
            tracing::warn!(reason = why, log, "nats-server exited; restarting it");
            if timeout(pause, stop.cancelled()).await.is_ok() {
                return Ok(());
            }
            match spawn(&program, &folder).await {
                Ok(again) => {
                    child = again;
                    break;
                }
                Err(error) => why = format!("failed to start: {}", Chain(&error)),
            }
        }
    }
}

async fn terminate(mut child: Child) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        tracing::debug!(error = %Chain(&error), "nats-server has already exited");
    }
    if timeout(NATS_STOP_TIMEOUT, child.wait()).await.is_err()
        && let Err(error) = child.kill().await
    {
        tracing::warn!(error = %Chain(&error), "failed to stop nats-server");
    }
}
