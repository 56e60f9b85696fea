//! A broker that accepts tokens, for tests of what it accepts.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use eventcast_crds::config::{Access, TokenIssuer};
use tempfile::TempDir;

use super::{issuer, judge_token, only};
use crate::{
    broker::networks,
    http::Version,
    process,
    wire::{BrokerWithNats, HTTP_VERSIONS},
};

/// A broker that accepts the tokens of one issuer, and files for its keys.
#[derive(Debug)]
pub struct TokenBroker {
    /// The broker.
    pub broker: BrokerWithNats,
    folder: TempDir,
}

impl TokenBroker {
    /// The folder with its key file, `keys`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `keys` are the content of the key file; `change` sees the issuer.
    ///
    /// # Errors
    /// When the broker does not start.
    pub async fn start(keys: &str, change: impl FnOnce(&mut TokenIssuer)) -> Result<Self> {
        let folder = process::folder("eventcast-issuer-")?;
        let mut issuer = issuer();
        issuer.key_file = Some(replace_file(folder.path(), "keys", keys)?);
        change(&mut issuer);
        let broker = start_with(only(vec![issuer])).await?;
        Ok(Self { broker, folder })
    }

    /// What the broker says to a token; see [`judge_token`].
    ///
    /// # Errors
    /// When there is no answer that can be read.
    pub async fn judge(&self, version: Version, token: &str) -> Result<(u16, String)> {
        judge_token(self.broker.address(), version, token).await
    }

    /// Expects `tokens` to be accepted, over both versions of HTTP.
    ///
    /// # Errors
    /// When one is not.
    pub async fn accepts(&self, tokens: &[(&str, String)]) -> Result<()> {
        for version in HTTP_VERSIONS {
            for (what, token) in tokens {
                let judged = self.judge(version, token).await?;
                ensure!(judged == (200, "ann".into()), "{what} over {version:?}: {judged:?}");
            }
        }
        Ok(())
    }

    /// Expects `tokens` to fail on `check`, over both versions of HTTP.
    ///
    /// # Errors
    /// When one does not.
    pub async fn refuses(&self, check: &str, tokens: &[(&str, String)]) -> Result<()> {
        for version in HTTP_VERSIONS {
            for (what, token) in tokens {
                let judged = self.judge(version, token).await?;
                ensure!(judged == (401, check.into()), "{what} over {version:?}: {judged:?}");
            }
        }
        Ok(())
    }
}

/// A broker whose channel has `access`, for clients with any address in `X-Forwarded-For`.
///
/// # Errors
/// When it does not start.
pub async fn start_with(access: Access) -> Result<BrokerWithNats> {
    BrokerWithNats::start(|config| {
        config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        config.channels[0].access = access;
    })
    .await
}

/// Writes a file as the kubelet does: at once.
///
/// # Errors
/// When it cannot be written.
pub fn replace_file(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let (path, new) = (folder.join(name), folder.join(".new"));
    fs::write(&new, text)?;
    fs::rename(new, &path)?;
    Ok(path)
}
