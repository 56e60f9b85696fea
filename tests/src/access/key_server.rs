//! A server of key sets over TLS, which answers as a test says.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use super::{SigningKey, jwk_set};
use crate::process;

/// What the server answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A key set.
    Keys(Value),
    /// An error.
    Status(u16),
    /// A web page with status 200.
    Html,
    /// Nothing for longer than anybody waits.
    Slow,
    /// A redirect.
    Redirect(String),
    /// Ten thousand keys.
    TooMany,
    /// A body without an end.
    Endless,
}

impl Reply {
    /// The public halves of `keys`.
    #[must_use]
    pub fn keys(keys: &[&SigningKey]) -> Self {
        Self::Keys(jwk_set(keys))
    }
}

/// A server of key sets.
#[derive(Debug)]
pub struct KeyServer {
    folder: TempDir,
    port: u16,
    reply: Arc<Mutex<Reply>>,
    fetches: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeyServer {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When there is none, or no certificate can be made.
    pub async fn start(reply: Reply) -> Result<Self> {
        let folder = process::folder("eventcast-keys-")?;
        let key = KeyPair::generate()?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        std::fs::write(folder.path().join("ca.pem"), certificate.pem())?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr().context("no address")?.port();
        let (reply, fetches) = (Arc::new(Mutex::new(reply)), Arc::default());
        let (replies, count) = (Arc::clone(&reply), Arc::clone(&fetches));
        let task = tokio::spawn(serve(listener, acceptor, replies, count));
        Ok(Self { folder, port, reply, fetches, task })
    }

    /// Where the keys are.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}/keys", self.port)
    }

    /// The authority of its certificate.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Answers differently from now on.
    pub fn set(&self, reply: Reply) {
        *self.reply.lock() = reply;
    }

    /// How many requests came.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

async fn serve(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    reply: Arc<Mutex<Reply>>,
    fetches: Arc<AtomicUsize>,
) {
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, reply, fetches) =
            (acceptor.clone(), Arc::clone(&reply), Arc::clone(&fetches));
        tokio::spawn(async move {
            let mut stream = acceptor.accept(socket).await?;
            let mut head = vec![0; 4096];
            let mut length = 0;
            while !head[..length].ends_with(b"\r\n\r\n") {
                length += match stream.read(&mut head[length..]).await? {
                    0 => return Ok(()),
                    read => read,
                };
            }
            fetches.fetch_add(1, Ordering::SeqCst);
            let reply = reply.lock().clone();
            answer(&mut stream, reply).await?;
            stream.shutdown().await
        });
    }
}

async fn answer(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    reply: Reply,
) -> std::io::Result<()> {
    let (status, headers, body) = match reply {
        Reply::Keys(keys) => (200, String::new(), keys.to_string()),
        Reply::Status(status) => (status, String::new(), "secret of the server".to_owned()),
        Reply::Html => (200, String::new(), "<html>secret of the server</html>".to_owned()),
        Reply::Slow => {
            sleep(Duration::from_secs(60)).await;
            return Ok(());
        }
        Reply::Redirect(to) => (302, format!("Location: {to}\r\n"), String::new()),
        Reply::TooMany => {
            let key = json!({"kty": "oct", "kid": "x", "k": "A".repeat(43)});
            (200, String::new(), json!({"keys": vec![key; 10_000]}).to_string())
        }
        Reply::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(&[b' '; 16_384]).await?;
            }
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).await
}
