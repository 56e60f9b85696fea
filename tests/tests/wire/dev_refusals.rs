//! What `eventcast-broker dev` cannot do: one line on standard error that says what to do, and nothing left behind.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use eventcast_tests::{broker::Cli, init_tracing, ports, process};
use tempfile::TempDir;

const WAIT_TIMEOUT: Duration = Duration::from_secs(10);

/// Addresses and a folder for a run that is to be refused.
struct Dev {
    folder: TempDir,
    listen: String,
    admin: String,
}

impl Dev {
    fn new() -> Result<Self> {
        let ports = ports::reserve(2)?;
        let [listen, admin] = [ports[0], ports[1]].map(|port| format!("127.0.0.1:{port}"));
        Ok(Self { folder: process::folder("eventcast-dev-")?, listen, admin })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn command(&self) -> Cli {
        let command = Cli::new(&["dev", "--listen", &self.listen, "--admin", &self.admin]);
        command.arg("--data-dir").arg(self.data())
    }
}

/// Runs `command` and holds it to one line on standard error with all of `words`.
async fn refused(command: Cli, words: &[&str]) -> Result<()> {
    let ended = command.output(WAIT_TIMEOUT).await?;
    assert!(!ended.status.success(), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "one line: {lines:#?}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in {:?}", lines[0]);
    }
    assert_eq!(ended.stdout, "");
    Ok(())
}

#[tokio::test]
async fn a_busy_port_is_refused_with_the_flag_that_helps() -> Result<()> {
    init_tracing();
    let dev = Dev::new()?;
    for (address, flag) in [(&dev.listen, "--listen"), (&dev.admin, "--admin")] {
        let _busy = TcpListener::bind(address)?;
        refused(dev.command().with_nats(), &[address, "in use", flag]).await?;
    }
    assert!(!dev.data().join("nats.pid").exists(), "no server was started for nothing");
    Ok(())
}

#[tokio::test]
async fn a_missing_or_old_nats_server_is_refused() -> Result<()> {
    init_tracing();
    let dev = Dev::new()?;
    let command = dev.command().without("EVENTCAST_NATS_SERVER");
    refused(command.env("PATH", ""), &["nats-server", "--nats-url"]).await?;
    let missing = dev.command().env("EVENTCAST_NATS_SERVER", "/nowhere/nats-server");
    refused(missing, &["/nowhere/nats-server", "EVENTCAST_NATS_SERVER"]).await?;

    let script = dev.path().join("nats-server");
    fs::write(&script, "#!/bin/sh\necho 'nats-server: v2.9.10'\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let old = dev.command().env("EVENTCAST_NATS_SERVER", &script);
    refused(old, &["2.9.10", "2.12.3 or later", &script.to_string_lossy()]).await?;
    let on_path = dev.command().without("EVENTCAST_NATS_SERVER").env("PATH", dev.path());
    refused(on_path, &["2.9.10", "2.12.3 or later"]).await
}

#[tokio::test]
async fn a_channel_that_is_none_is_refused() -> Result<()> {
    init_tracing();
    let dev = Dev::new()?;
    for bad in ["demo", "Default/demo", "a/b/c", "/demo", ""] {
        refused(dev.command().with_nats().arg("--channel").arg(bad), &["--channel"]).await?;
        assert!(!dev.data().join("nats.pid").exists(), "{bad}: a server was started for nothing");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_file_without_a_secret_is_refused() -> Result<()> {
    init_tracing();
    let dev = Dev::new()?;
    let keys = dev.data().join("token-keys.json");
    fs::create_dir(dev.data())?;
    fs::write(&keys, "{}")?;
    let command = dev.command().with_nats().arg("--access").arg("closed");
    refused(command, &["token-keys.json", "no secret (oct)", "it is made"]).await?;
    assert!(!dev.data().join("nats.pid").exists(), "a server was started for nothing");
    assert_eq!(fs::read_to_string(&keys)?, "{}", "it is left alone");
    Ok(())
}
