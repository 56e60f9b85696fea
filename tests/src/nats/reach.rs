//! Where the nats-server is found, and how a test connects to one.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use async_nats::{Client, ConnectOptions};

use crate::{process, repository};

/// A connection to any of `urls`, with this user and password.
pub(super) async fn connect(urls: &[String], login: Option<(String, String)>) -> Result<Client> {
    let addresses: Vec<async_nats::ServerAddr> =
        urls.iter().map(|url| url.parse()).collect::<Result<_, _>>()?;
    let options = ConnectOptions::new()
        .connection_timeout(Duration::from_secs(2))
        .request_timeout(Some(Duration::from_secs(2)));
    let options = match login {
        Some((user, password)) => options.user_and_password(user, password),
        None => options,
    };
    options.connect(addresses).await.context("failed to connect to NATS")
}

/// `EVENTCAST_NATS_SERVER`, then `PATH`, then the tools folder of the repository.
pub(crate) fn binary() -> PathBuf {
    let tool = repository().join(".tools/bin/nats-server");
    let found = std::env::var_os("EVENTCAST_NATS_SERVER")
        .map(PathBuf::from)
        .or_else(|| process::find_on_path("nats-server"))
        .unwrap_or(tool);
    assert!(
        found.is_file(),
        "no nats-server at {}: run tests/tools/install.sh nats-server, or set EVENTCAST_NATS_SERVER",
        found.display()
    );
    found
}
