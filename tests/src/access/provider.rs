//! A real OpenID provider: the example server of zitadel/oidc, a certified implementation.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Response};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    eventually,
    http::{Version, client},
    ports,
    process::{self, Process, find_on_path},
};

const START_TIMEOUT: Duration = Duration::from_secs(20);
/// The client of the example server, and where it is sent with its code.
const CLIENT: (&str, &str) = ("web", "secret");
const REDIRECT: &str = "http://localhost:9999/auth/callback";
/// The user of the example server.
const USER: (&str, &str) = ("test-user@localhost", "verysecure");

/// A running provider.
#[derive(Debug)]
pub struct OidcProvider {
    issuer: String,
    _process: Process,
    _folder: TempDir,
}

fn program() -> Result<PathBuf> {
    let named = std::env::var_os("EVENTCAST_OIDC_SERVER").map(PathBuf::from);
    named
        .or_else(|| find_on_path("oidc-server"))
        .context("no oidc-server: run tests/tools/install.sh oidc-server")
}

impl OidcProvider {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When it is not installed, or does not answer.
    pub async fn start() -> Result<Self> {
        let folder = process::folder("eventcast-oidc-")?;
        let port = ports::reserve(1)?[0];
        let env = find_on_path("env").context("no env")?;
        let words = [format!("PORT={port}"), program()?.display().to_string()];
        let words: Vec<&Path> = words.iter().map(Path::new).collect();
        let process = Process::spawn("oidc", &env, &words, folder.path())?;
        let issuer = format!("http://localhost:{port}/");
        let provider = Self { issuer, _process: process, _folder: folder };
        eventually("the provider answers", START_TIMEOUT, || provider.metadata()).await?;
        Ok(provider)
    }

    /// Its `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The audience of its ID tokens.
    #[must_use]
    pub fn audience(&self) -> &'static str {
        CLIENT.0
    }

    /// What it publishes about itself (OpenID Connect Discovery).
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metadata(&self) -> Result<Value> {
        let url = format!("{}.well-known/openid-configuration", self.issuer);
        let answer = client(Version::Http1).get(url).send().await?.error_for_status()?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }

    /// Logs its user in (authorization code flow), and returns the ID token.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn log_in(&self) -> Result<String> {
        let http = client(Version::Http1);
        let query = [
            ("client_id", CLIENT.0),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", "openid"),
        ];
        let metadata = self.metadata().await?;
        let endpoint = |name: &str| metadata[name].as_str().context("no such endpoint");
        let authorize = http.get(endpoint("authorization_endpoint")?).query(&query);
        let login = self.location(&authorize.send().await?)?;
        let (_, request) = login.split_once("authRequestID=").context("no login page")?;
        let form = [("username", USER.0), ("password", USER.1), ("id", request)];
        let login = http.post(format!("{}login/username", self.issuer)).form(&form);
        let back = self.location(&login.send().await?)?;
        let callback = self.location(&http.get(back).send().await?)?;
        let (_, code) = callback.split_once("code=").context("no code")?;
        let code = code.split('&').next().unwrap_or_default();
        exchange(&http, endpoint("token_endpoint")?, code).await
    }

    fn location(&self, answer: &Response) -> Result<String> {
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
        let location = location.with_context(|| format!("no redirect: {answer:?}"))?;
        Ok(match location.strip_prefix('/') {
            Some(path) => format!("{}{path}", self.issuer),
            None => location.to_owned(),
        })
    }
}

async fn exchange(http: &Client, url: &str, code: &str) -> Result<String> {
    let form = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", REDIRECT)];
    let token = http.post(url).form(&form);
    let answer = token.basic_auth(CLIENT.0, Some(CLIENT.1)).send().await?;
    ensure!(answer.status() == 200, "no token: {}", answer.text().await?);
    let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
    Ok(answer["id_token"].as_str().context("no ID token")?.to_owned())
}
