//! One API server for all tests of a run.
//!
//! nextest runs every test in a process of its own. The first test that asks starts etcd and the API server under a shell, the
//! keeper, which belongs to the run: it ends both and removes their files when the process of the run has ended.

use std::{
    env,
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use kube::config::Kubeconfig;

use super::{Cluster, START_TIMEOUT, plan::Plan, program};
use crate::{
    eventually,
    process::{self, tail},
};

/// The process that all tests of a run belong to.
struct Run {
    pid: u32,
    /// Files of the API server.
    folder: PathBuf,
}

impl Run {
    /// The run of nextest, which is the parent of every test; with `cargo test` the process itself.
    fn current() -> Self {
        let (pid, id) = match env::var("NEXTEST_RUN_ID") {
            Ok(id) => (std::os::unix::process::parent_id(), id),
            Err(_) => (std::process::id(), std::process::id().to_string()),
        };
        Self { pid, folder: env::temp_dir().join(format!("eventcast-apiserver-{id}")) }
    }

    /// The kubeconfig of a server that is ready.
    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("ready.json")
    }

    /// Why the server did not get ready: every other test of the run fails at once.
    fn failure(&self) -> PathBuf {
        self.folder.join("failure")
    }

    /// Starts the server unless a test of this run has.
    async fn ensure_server(&self) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let lock = File::create(self.folder.join("lock"))?;
        let locked = || std::future::ready(lock.try_lock());
        eventually("the lock of the shared API server", 2 * START_TIMEOUT, locked).await?;
        if self.kubeconfig().exists() {
            return Ok(());
        }
        if let Ok(failure) = fs::read_to_string(self.failure()) {
            bail!("no API server to share: {failure}");
        }
        let started = self.start_server().await;
        if let Err(error) = &started {
            fs::write(self.failure(), format!("{error:#}"))?;
        }
        started
    }

    async fn start_server(&self) -> Result<()> {
        let plan = Plan::prepare(&self.folder)?;
        let commands = [
            ("etcd", command(&program("etcd"), &plan.etcd)),
            ("apiserver", command(&program("kube-apiserver"), &plan.apiserver)),
        ];
        keep(self.pid, &self.folder, &commands)?;
        let admin = plan.kubeconfig()?;
        let cluster = Cluster::new(admin.clone(), process::folder("eventcast-cluster-")?)?;
        if let Err(error) = cluster.ready(START_TIMEOUT).await {
            let log = fs::read_to_string(self.folder.join("apiserver.log")).unwrap_or_default();
            return Err(error.context(format!("its log ends:\n{}", tail(&log, 20))));
        }
        fs::write(self.kubeconfig(), serde_json::to_vec(&admin)?)?;
        Ok(())
    }
}

/// The cluster that `KUBECONFIG` names, where that is set, else the API server of this run.
pub(super) async fn get() -> Result<Cluster> {
    let folder = process::folder("eventcast-cluster-")?;
    if env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty()) {
        let admin = Kubeconfig::read().context("failed to read what KUBECONFIG names")?;
        let cluster = Cluster::new(admin, folder)?;
        cluster.ready(START_TIMEOUT).await.context("the cluster that KUBECONFIG names")?;
        return Ok(cluster);
    }
    let run = Run::current();
    run.ensure_server().await?;
    let admin = fs::read(run.kubeconfig()).context("failed to read the kubeconfig of the run")?;
    Cluster::new(serde_json::from_slice(&admin)?, folder)
}

/// A command line for a shell.
fn command(program: &Path, arguments: &[String]) -> String {
    let program = program.display().to_string();
    let words = [&[program], arguments].concat();
    words.iter().map(|word| format!("'{}' ", word.replace('\'', r"'\''"))).collect()
}

/// Runs `commands` (name and command line) with their logs in `folder`, until process `run` has ended; then removes `folder`.
fn keep(run: u32, folder: &Path, commands: &[(&str, String)]) -> Result<()> {
    let starts: String = commands
        .iter()
        .map(|(name, command)| {
            format!("{command} >{name}.out 2>{name}.log & children=\"$children $!\"\n")
        })
        .collect();
    let remove =
        if env::var_os("EVENTCAST_TEST_KEEP").is_some() { "" } else { "rm -rf -- \"$PWD\"" };
    let script = format!(
        "{starts}while kill -0 {run} 2>/dev/null; do sleep 0.2; done\nkill -9 $children\nwait\n{remove}"
    );
    ensure!(folder.is_dir(), "{} is no folder", folder.display());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0); // neither Ctrl-C nor the end of the first test may reach it
    let spawned: io::Result<_> = shell.spawn();
    drop(spawned.context("failed to start sh")?); // it outlives this process
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_ends_with_the_run() {
        let parent = process::folder("eventcast-keeper-").unwrap();
        let folder = parent.path().join("files");
        fs::create_dir(&folder).unwrap();
        let mut run = Command::new("sleep").arg("100").spawn().unwrap();
        let child = "echo $$; exec sleep 100".to_owned();
        keep(run.id(), &folder, &[("child", command(Path::new("sh"), &["-c".into(), child]))])
            .unwrap();
        let within = Duration::from_secs(10);
        let pid = eventually("the child runs", within, || async {
            let text = fs::read_to_string(folder.join("child.out"))?;
            text.trim().parse::<u32>().context("no pid")
        });
        let pid = pid.await.unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        let gone = || {
            let gone = !folder.exists() && !Path::new(&format!("/proc/{pid}")).exists();
            std::future::ready(gone.then_some(()))
        };
        eventually("folder and child are gone", within, gone).await.unwrap();
    }
}
