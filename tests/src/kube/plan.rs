//! What the two processes are started with: files in their folder, and command lines that are the same after a kill.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use kube::config::Kubeconfig;
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use crate::ports;

/// Every request once, when it is answered; never a body.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
  "omitStages": ["RequestReceived", "ResponseStarted"], "rules": [{"level": "Metadata"}]
}"#;

/// A control plane that was not started yet.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) etcd: Vec<String>,
    pub(super) apiserver: Vec<String>,
    pub(super) audit: PathBuf,
    url: String,
    token: String,
    certificate: PathBuf,
}

impl Plan {
    /// Writes what the processes read: one key pair for TLS and for the tokens of ServiceAccounts, and one token with every
    /// right.
    pub(super) fn prepare(folder: &Path) -> Result<Self> {
        let [store, peer, api] = ports::reserve(3)?[..] else { unreachable!("three were asked") };
        let file = |name: &str| folder.join(name).display().to_string();
        let write = |name: &str, text: &str| {
            fs::write(folder.join(name), text).with_context(|| format!("failed to write {name}"))
        };
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let token: String = (0..32).map(|_| fastrand::alphanumeric()).collect();
        write("server.key", &key.serialize_pem())?;
        write("server.crt", &certificate.pem())?;
        write("tokens.csv", &format!("{token},admin,admin,system:masters\n"))?;
        write("audit-policy.json", AUDIT_POLICY)?;

        let (store, peer) =
            (format!("http://127.0.0.1:{store}"), format!("http://127.0.0.1:{peer}"));
        let etcd = vec![
            format!("--data-dir={}", file("etcd")),
            format!("--listen-client-urls={store}"),
            format!("--advertise-client-urls={store}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
            "--unsafe-no-fsync".to_owned(), // the machine does not fail here, processes do
            "--log-level=warn".to_owned(),
        ];
        let apiserver = vec![
            format!("--etcd-servers={store}"),
            format!("--secure-port={api}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(), // a Service may not point to loopback
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(), // a Service for each of a thousand channels
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("server.crt")),
            format!("--service-account-signing-key-file={}", file("server.key")),
            // it refuses pods of a ServiceAccount that does not exist, and nothing makes `default` here
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            // a second of the start
            "--enable-priority-and-fairness=false".to_owned(),
            format!("--audit-policy-file={}", file("audit-policy.json")),
            format!("--audit-log-path={}", file("audit.log")),
            "--audit-log-mode=blocking".to_owned(), // written before the answer is sent
            "--allow-privileged".to_owned(),
        ];
        Ok(Self {
            etcd,
            apiserver,
            audit: folder.join("audit.log"),
            url: format!("https://127.0.0.1:{api}"),
            token,
            certificate: folder.join("server.crt"),
        })
    }

    /// The way in with every right.
    pub(super) fn kubeconfig(&self) -> Result<Kubeconfig> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": self.url, "certificate-authority": self.certificate,
            }}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        });
        serde_json::from_value(config).context("failed to make a kubeconfig")
    }
}
