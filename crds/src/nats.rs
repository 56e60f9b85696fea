//! How to reach NATS, from the configuration: the one place where servers and credentials become connection options.

use std::path::{Path, PathBuf};

use async_nats::{ConnectOptions, ServerAddr};

use crate::config::Nats;

/// The oldest server: batch direct gets and message time to live as we use them; older ones deadlock or lose pending writes.
pub const OLDEST: (i64, i64, i64) = (2, 12, 3);

/// Why there can be no connection.
#[derive(Debug, thiserror::Error)]
pub enum NatsConfigError {
    /// An address cannot be read.
    #[error("nats.servers: {server}: {message}")]
    Server {
        /// As configured.
        server: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file cannot be read.
    #[error("failed to read {path}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The servers to try.
///
/// # Errors
/// One of them is no address.
pub fn servers(config: &Nats) -> Result<Vec<ServerAddr>, NatsConfigError> {
    let parse = |server: &String| {
        server.parse().map_err(|e: std::io::Error| NatsConfigError::Server {
            server: server.clone(),
            message: e.to_string(),
        })
    };
    config.servers.iter().map(parse).collect()
}

/// Connection options with the credentials and the certificates of `config`, as its files say now.
///
/// # Errors
/// A file cannot be read.
pub async fn options(config: &Nats) -> Result<ConnectOptions, NatsConfigError> {
    let mut options = ConnectOptions::new();
    if let Some(user) = &config.user {
        let password = match &config.password_file {
            Some(path) => read(path).await?,
            None => String::new(),
        };
        options = options.user_and_password(user.clone(), password);
    }
    if let Some(path) = &config.token_file {
        options = options.token(read(path).await?);
    }
    if let Some(path) = &config.credentials_file {
        let source = options.credentials_file(path).await;
        options = source.map_err(|source| unreadable(path, source))?;
    }
    // The client reads these itself, at each connection, and says no more than "IO error".
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
    Ok(options)
}

/// The keys of a Secret with the credentials, and the files that they stand in.
#[must_use]
pub fn secret_files(config: &Nats) -> Vec<(&'static str, PathBuf)> {
    let files = [
        ("password", &config.password_file),
        ("token", &config.token_file),
        ("nats.creds", &config.credentials_file),
        ("ca.crt", &config.ca_file),
        ("tls.crt", &config.certificate_file),
        ("tls.key", &config.key_file),
    ];
    files.into_iter().filter_map(|(key, path)| Some((key, path.clone()?))).collect()
}

/// The same configuration for whom the Secret of [`secret_files`] is mounted at `folder`.
#[must_use]
pub fn mounted_at(config: &Nats, folder: &Path) -> Nats {
    let at = |file: &Option<PathBuf>, key: &str| file.as_ref().map(|_| folder.join(key));
    Nats {
        password_file: at(&config.password_file, "password"),
        token_file: at(&config.token_file, "token"),
        credentials_file: at(&config.credentials_file, "nats.creds"),
        ca_file: at(&config.ca_file, "ca.crt"),
        certificate_file: at(&config.certificate_file, "tls.crt"),
        key_file: at(&config.key_file, "tls.key"),
        ..config.clone()
    }
}

async fn read(path: &Path) -> Result<String, NatsConfigError> {
    let text = tokio::fs::read_to_string(path).await;
    text.map(|t| t.trim().to_owned()).map_err(|source| unreadable(path, source))
}

fn unreadable(path: &Path, source: std::io::Error) -> NatsConfigError {
    NatsConfigError::File { path: path.display().to_string(), source }
}
