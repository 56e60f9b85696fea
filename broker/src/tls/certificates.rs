//! The certificate in use, and the certificate authorities of clients. They are reloaded when their files change. Invalid contents are
//! reported, and the last valid ones stay in use.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use eventcast_crds::{
    broker_status::{AccessProblem, AccessReason},
    config::Tls,
};
use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::{ServerConfig, server::danger::ClientCertVerifier};

use super::{authorities, key_pair::KeyPair};
use crate::{
    metrics::Metrics,
    watch::{Content, WatchedFiles},
};

/// A certificate that expires sooner than this is reported: certificates are renewed weeks before their end, so a renewal must have failed.
const EXPIRING: Duration = Duration::from_secs(14 * 86_400);

/// Why a file is not in use.
type Rejected = (AccessReason, String);

/// The certificate of the public listener, and the certificate authorities of its clients.
pub(crate) struct Certificates {
    tls: Tls,
    current: ArcSwapOption<Served>,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

/// The configuration of TLS for new connections.
pub(crate) struct Served {
    pub(crate) config: Arc<ServerConfig>,
    /// The verifier of client certificates.
    pub(super) clients: Arc<dyn ClientCertVerifier>,
}

struct State {
    /// The certificate in use.
    pair: Option<KeyPair>,
    clients: Arc<dyn ClientCertVerifier>,
    /// Why the present content of the files of the certificate is not in use.
    rejected: Option<Rejected>,
    /// Why the present content of the file of authorities is not in use.
    clients_rejected: Option<Rejected>,
    warned_of_rsa: bool,
}

/// The files of the certificate, and that of the authorities if there is one.
pub(crate) struct Files {
    pair: WatchedFiles,
    clients: WatchedFiles,
}

impl Certificates {
    /// No certificate yet; see [`follow`](Self::follow).
    pub(crate) fn new(tls: Tls, metrics: Arc<Metrics>) -> Arc<Self> {
        let state = State {
            pair: None,
            clients: authorities::before_the_first(tls.client_ca_file.is_some()),
            rejected: None,
            clients_rejected: None,
            warned_of_rsa: false,
        };
        let (current, state) = (ArcSwapOption::empty(), Mutex::new(state));
        Arc::new(Self { tls, current, state, metrics })
    }

    /// The configuration for new connections; `None` while there is no usable certificate.
    pub(crate) fn current(&self) -> Option<Arc<Served>> {
        self.current.load_full()
    }

    /// Reads the files. Without a usable certificate the broker starts nevertheless, and refuses handshakes until there is one.
    pub(crate) async fn read(&self) -> Files {
        let pair = vec![self.tls.certificate_file.clone(), self.tls.key_file.clone()];
        let mut files = Files {
            pair: WatchedFiles::new(pair),
            clients: WatchedFiles::new(self.tls.client_ca_file.iter().cloned().collect()),
        };
        self.update_clients(files.clients.changed().await);
        self.update(files.pair.changed().await);
        files
    }

    /// Applies the changes of `files`. Never returns.
    pub(crate) async fn follow(&self, Files { mut pair, mut clients }: Files) {
        loop {
            tokio::select! {
                contents = pair.changed() => self.update(contents),
                contents = clients.changed() => self.update_clients(contents),
            }
        }
    }

    /// What is wrong with the certificate, for the operator.
    pub(crate) fn problem(&self) -> Option<AccessProblem> {
        let state = self.state.lock();
        let (reason, detail) = match (&state.rejected, state.pair.as_ref().map(KeyPair::expires)) {
            (Some(rejected), _) => rejected.clone(),
            (None, Some(expires)) if expires <= soon() => {
                let verb = if expires <= Timestamp::now() { "expired" } else { "expires" };
                let detail = format!("the certificate {verb} at {expires}: renew it");
                (AccessReason::CertificateExpiring, detail)
            }
            _ => return None,
        };
        Some(AccessProblem { what: "certificate".into(), reason, detail })
    }

    /// What is wrong with the certificate authorities of clients, for the operator.
    pub(crate) fn problem_of_clients(&self) -> Option<AccessProblem> {
        let (reason, detail) = self.state.lock().clients_rejected.clone()?;
        Some(AccessProblem { what: "client certificates".into(), reason, detail })
    }

    /// Uses the certificate and the key in `contents`, if they are better than what is in use.
    fn update(&self, contents: &[Content]) {
        let mut state = self.state.lock();
        match self.adopt(contents, &state) {
            Ok(pair) => {
                let expires = pair.expires();
                self.metrics.certificate_expiry.set(expires.as_second());
                self.metrics.certificate_reloads("applied");
                tracing::info!(%expires, "using the certificate of the files");
                if pair.is_rsa() && !std::mem::replace(&mut state.warned_of_rsa, true) {
                    tracing::warn!(
                        "the certificate has an RSA key, whose handshakes need seven times the processor time of ECDSA: issue it with an ECDSA key"
                    );
                }
                (state.pair, state.rejected) = (Some(pair), None);
            }
            Err((reason, detail)) => {
                self.metrics.certificate_reloads("rejected");
                let reason_text = reason.as_str();
                if state.pair.is_some() {
                    tracing::error!(
                        reason = reason_text,
                        detail,
                        "rejected the certificate; keeping the last valid one"
                    );
                } else {
                    tracing::error!(
                        reason = reason_text,
                        detail,
                        "there is no usable certificate: TLS handshakes are refused until the files have one"
                    );
                }
                state.rejected = Some((reason, detail));
            }
        }
    }

    /// Uses the authorities in `contents`, if there are any. Sessions whose clients earlier authorities verified are not resumed.
    fn update_clients(&self, contents: &[Content]) {
        let (Some(path), [content]) = (&self.tls.client_ca_file, contents) else { return };
        let mut state = self.state.lock();
        let adopted = readable(content, path).and_then(|pem| {
            let clients = authorities::parse(pem)
                .map_err(|error| invalid(format!("cannot use {}: {error}", path.display())))?;
            if let Some(pair) = &state.pair {
                self.serve(pair, &clients)?;
            }
            Ok(clients)
        });
        match adopted {
            Ok(clients) => {
                self.metrics.certificate_reloads("applied");
                tracing::info!("using the certificate authorities of clients in the file");
                (state.clients, state.clients_rejected) = (clients, None);
            }
            Err((reason, detail)) => {
                self.metrics.certificate_reloads("rejected");
                tracing::error!(
                    reason = reason.as_str(),
                    detail,
                    "rejected the certificate authorities of clients; keeping the last valid ones, or refusing all certificates if there \
                     were none"
                );
                state.clients_rejected = Some((reason, detail));
            }
        }
    }

    fn adopt(&self, contents: &[Content], state: &State) -> Result<KeyPair, Rejected> {
        let [chain, key] = contents else {
            return Err(invalid("two files are watched".into()));
        };
        let chain = readable(chain, &self.tls.certificate_file)?;
        let key = readable(key, &self.tls.key_file)?;
        let pair = KeyPair::parse(chain, key).map_err(|e| invalid(e.to_string()))?;
        let (expires, in_use) = (pair.expires(), state.pair.as_ref().map(KeyPair::expires));
        // An expired certificate is used only if there is no better one: the clock may be wrong, and some clients do not check.
        if pair.has_expired(SystemTime::now()) && in_use.is_some_and(|in_use| in_use > expires) {
            return Err(invalid(format!("the certificate expired at {expires}")));
        }
        self.serve(&pair, &state.clients)?;
        Ok(pair)
    }

    /// Serves new connections with this certificate and this verifier of client certificates.
    fn serve(&self, pair: &KeyPair, clients: &Arc<dyn ClientCertVerifier>) -> Result<(), Rejected> {
        let config = pair.config(&self.tls, Arc::clone(clients));
        let config = Arc::new(config.map_err(|e| invalid(e.to_string()))?);
        self.current.store(Some(Arc::new(Served { config, clients: Arc::clone(clients) })));
        Ok(())
    }
}

fn invalid(detail: String) -> Rejected {
    (AccessReason::CertificateInvalid, detail)
}

/// The content of the file at `path`.
fn readable<'a>(content: &'a Content, path: &Path) -> Result<&'a [u8], Rejected> {
    content.as_deref().map_err(|error| {
        let reason = match error {
            io::ErrorKind::NotFound => AccessReason::SecretMissing,
            _ => AccessReason::CertificateInvalid,
        };
        (reason, format!("failed to read {}: {error}", path.display()))
    })
}

/// The time before which certificates should not expire.
fn soon() -> Timestamp {
    Timestamp::now().saturating_add(EXPIRING).unwrap_or(Timestamp::MAX)
}
