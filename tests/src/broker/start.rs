//! From a configuration to a broker that answers: the file, the process, the lines it prints, `/readyz`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Broker, START_TIMEOUT, setup};
use crate::{
    eventually,
    http::{Version, client},
    process::{self, Process},
    tls,
};

impl Broker {
    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it does not within `within`, or the broker has ended.
    pub async fn ready(&mut self, within: Duration) -> Result<()> {
        let (client, url) = (client(Version::Http1), self.admin_url("/readyz"));
        let ready = eventually("the broker is ready", within, || async {
            let answer = client.get(&url).timeout(Duration::from_secs(2)).send().await?;
            ensure!(answer.status() == 200, "/readyz says {}", answer.status());
            Ok(())
        });
        ready.await.with_context(|| self.ending())
    }

    /// Writes the configuration atomically.
    pub(super) fn write(&self) -> Result<()> {
        let new = self.folder.path().join("config.new");
        fs::write(&new, setup::file(&self.config, &self.raw)?)?;
        fs::rename(&new, self.config_file()).context("failed to write the configuration")
    }

    /// Starts the process and learns its addresses from the lines it prints.
    pub(super) async fn run(&mut self) -> Result<()> {
        let file = self.config_file();
        let broker = setup::binary();
        let mut command: Vec<PathBuf> = vec![broker, "run".into(), "--config".into(), file];
        if let Some(filter) = self.log_filter {
            command.extend(["--log".into(), filter.into()]);
        }
        if let Some(limit) = self.files {
            let prlimit =
                process::find_on_path("prlimit").context("prlimit is part of util-linux")?;
            command.splice(0..0, [prlimit, format!("--nofile={limit}:{limit}").into()]);
        }
        if !self.variables.is_empty() {
            let env = process::find_on_path("env").context("env is part of coreutils")?;
            let variables = self.variables.iter().map(PathBuf::from);
            command.splice(0..0, [env].into_iter().chain(variables));
        }
        let (program, arguments) = command.split_first().context("no program")?;
        let out = self.folder.path().join("broker.out");
        if out.exists() {
            fs::remove_file(&out)?; // the lines of an earlier start
        }
        let process = Process::spawn("broker", program, arguments, self.folder.path())?;
        let process = self.process.insert(process);
        let lines = eventually("the broker listens", START_TIMEOUT, || {
            let lines = match process.exited() {
                Ok(None) => addresses(&process.stdout()).map(Ok),
                Ok(Some(status)) => Some(Err(anyhow!("it ended with {status}"))),
                Err(error) => Some(Err(error)),
            };
            std::future::ready(lines)
        })
        .await
        .flatten();
        let Addresses { plain, secure, control, admin } = lines.with_context(|| self.ending())?;
        self.admin = format!("http://{admin}");
        self.control = control;
        self.public = match (&plain, &secure) {
            (Some(plain), _) => format!("http://{plain}"),
            (None, Some(secure)) => {
                tls::register(secure);
                format!("https://{secure}")
            }
            (None, None) => return Err(anyhow!("it does not listen")),
        };
        self.secure = secure;
        // the next start listens on the same ports
        let listen = plain.map_or(Ok(self.config.listen), |plain| plain.parse())?;
        let admin = admin.parse()?;
        if (self.config.listen, self.config.admin) == (listen, admin) {
            return Ok(());
        }
        (self.config.listen, self.config.admin) = (listen, admin);
        self.write()
    }

    fn ending(&self) -> String {
        format!("log of the broker ends:\n{}", process::tail(&self.log(), 30))
    }
}

/// Where a broker listens.
struct Addresses {
    plain: Option<String>,
    secure: Option<String>,
    control: Option<String>,
    admin: String,
}

/// The addresses, from the lines that a broker prints; that of the admin listener is the last one.
fn addresses(stdout: &str) -> Option<Addresses> {
    let line = |mark: &str| {
        let mut lines = stdout.lines();
        lines.find_map(|line| line.strip_prefix(mark).map(str::to_owned))
    };
    Some(Addresses {
        plain: line("listening on http://"),
        secure: line("listening on https://"),
        control: line("control on "),
        admin: line("admin on http://")?,
    })
}
