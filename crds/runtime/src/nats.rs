//! Connection options for NATS from the configuration.

mod credentials;

use std::{future::ready, path::Path, time::Duration};

use async_nats::{
    AuthError, Client, ConnectOptions, ServerAddr,
    jetstream::{self, context::ContextBuilder},
};

use eventcast_crds::config::Nats;
use semver::Version;

use credentials::Credentials;

/// The oldest supported nats-server. Batch direct get and per-message TTLs require it; older versions deadlock or lose pending
/// writes.
pub const OLDEST_SUPPORTED: Version = Version::new(2, 12, 3);

/// The server is older than [`OLDEST_SUPPORTED`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("NATS {found} is too old: Eventcast needs nats-server {OLDEST_SUPPORTED} or later")]
pub struct UnsupportedVersion {
    /// The version that the server reports.
    pub found: String,
}

/// Checks the version that a nats-server reports. A pre-release counts as its release.
///
/// # Errors
/// The version is older than [`OLDEST_SUPPORTED`], or cannot be parsed.
pub fn check_version(reported: &str) -> Result<(), UnsupportedVersion> {
    let release = |v: &Version| (v.major, v.minor, v.patch);
    match Version::parse(reported) {
        Ok(version) if release(&version) >= release(&OLDEST_SUPPORTED) => Ok(()),
        _ => Err(UnsupportedVersion { found: reported.to_owned() }),
    }
}

/// Why the configuration of NATS is unusable.
#[derive(Debug, thiserror::Error)]
pub enum NatsConfigError {
    /// An address is invalid.
    #[error("nats.servers: {server}: {message}")]
    Server {
        /// The address as configured.
        server: String,
        /// Why it is invalid.
        message: String,
    },
    /// A file cannot be read.
    #[error("failed to read {path}")]
    File {
        /// The path of the file.
        path: String,
        /// Why it cannot be read.
        #[source]
        source: std::io::Error,
    },
    /// A file is no credentials file.
    #[error("{path} is not a NATS credentials file with a user JWT and a seed")]
    Credentials {
        /// The path of the file.
        path: String,
    },
}

/// Parses the addresses of the configured servers.
///
/// # Errors
/// An address is invalid.
pub fn servers(config: &Nats) -> Result<Vec<ServerAddr>, NatsConfigError> {
    let parse = |server: &String| {
        server.parse().map_err(|e: std::io::Error| NatsConfigError::Server {
            server: server.clone(),
            message: e.to_string(),
        })
    };
    config.servers.iter().map(parse).collect()
}

/// Builds connection options. The files of `config` with credentials and certificates are read at each connection: a changed file is
/// used at the next reconnect. (The client itself reads those with certificates.)
///
/// # Errors
/// A file cannot be read.
pub async fn options(config: &Nats) -> Result<ConnectOptions, NatsConfigError> {
    let mut options = match Credentials::of(config) {
        None => ConnectOptions::new(),
        Some(credentials) => {
            // What is wrong at the start is an error of the configuration.
            credentials.authenticate(&[])?;
            ConnectOptions::with_auth_callback(move |nonce| {
                ready(credentials.authenticate(&nonce).map_err(AuthError::new))
            })
        }
    };
    // The client reads these files itself, at each connection, but reports only "IO error".
    for path in [&config.ca_file, &config.certificate_file, &config.key_file].into_iter().flatten()
    {
        read(path).await?;
    }
    if let Some(path) = &config.ca_file {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&config.certificate_file, &config.key_file) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    if config.tls_first {
        options = options.tls_first();
    }
    Ok(options)
}

/// JetStream over `client`, in the domain of `config`. `timeout` bounds each request.
#[must_use]
pub fn jetstream(config: &Nats, client: Client, timeout: Duration) -> jetstream::Context {
    ContextBuilder::new().api_prefix(config.api_prefix()).timeout(timeout).build(client)
}

async fn read(path: &Path) -> Result<String, NatsConfigError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map(|t| t.trim().to_owned()).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: std::io::Error) -> NatsConfigError {
    NatsConfigError::File { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_the_oldest_supported_are_rejected() {
        for supported in ["2.12.3", "2.12.10", "2.14.0-beta.1", "3.0.0", "2.12.3-RC.1"] {
            assert_eq!(check_version(supported), Ok(()), "{supported}");
        }
        for old in ["2.12.2", "2.9.10", "1.99.99", "", "dev"] {
            let error = check_version(old).unwrap_err().to_string();
            assert!(error.ends_with("needs nats-server 2.12.3 or later"), "{old}: {error}");
        }
    }
}
