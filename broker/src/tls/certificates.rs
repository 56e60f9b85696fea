//! The certificate in use. It follows its files; what cannot be used leaves the last good one in use, and is reported.

use std::{
    io,
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
use rustls::ServerConfig;

use super::key_pair::KeyPair;
use crate::{
    metrics::Metrics,
    watch::{Content, WatchedFiles},
};

/// A certificate that expires sooner is reported. Certificates are renewed weeks before their end, so a renewal has failed.
const EXPIRING: Duration = Duration::from_secs(14 * 86_400);

/// The certificate of the public listener.
pub(crate) struct Certificates {
    tls: Tls,
    current: ArcSwapOption<ServerConfig>,
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    /// When the certificate in use expires.
    expires: Option<Timestamp>,
    /// Why the present content of the files is not in use.
    rejected: Option<(AccessReason, String)>,
    warned_of_rsa: bool,
}

impl Certificates {
    /// No certificate yet; see [`follow`](Self::follow).
    pub(crate) fn new(tls: Tls, metrics: Arc<Metrics>) -> Arc<Self> {
        let (current, state) = (ArcSwapOption::empty(), Mutex::default());
        Arc::new(Self { tls, current, state, metrics })
    }

    /// How connections are served now; `None` while there is no usable certificate.
    pub(crate) fn current(&self) -> Option<Arc<ServerConfig>> {
        self.current.load_full()
    }

    /// Reads the files. Without a usable certificate the broker starts nevertheless, and refuses handshakes until there is one.
    pub(crate) async fn read(&self) -> WatchedFiles {
        let files = vec![self.tls.certificate_file.clone(), self.tls.key_file.clone()];
        let mut files = WatchedFiles::new(files);
        self.update(files.changed().await);
        files
    }

    /// Follows the changes of `files`.
    pub(crate) async fn follow(&self, mut files: WatchedFiles) {
        loop {
            self.update(files.changed().await);
        }
    }

    /// What is wrong, for the operator.
    pub(crate) fn problem(&self) -> Option<AccessProblem> {
        let state = self.state.lock();
        let (reason, detail) = match (&state.rejected, state.expires) {
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

    fn update(&self, contents: &[Content]) {
        let outcome = self.adopt(contents);
        let mut state = self.state.lock();
        match outcome {
            Ok((expires, is_rsa)) => {
                (state.expires, state.rejected) = (Some(expires), None);
                self.metrics.certificate_expiry.set(expires.as_second());
                self.metrics.certificate_reloads("applied");
                tracing::info!(%expires, "using the certificate of the files");
                if is_rsa && !std::mem::replace(&mut state.warned_of_rsa, true) {
                    tracing::warn!(
                        "the certificate has an RSA key, whose handshakes need seven times the processor time of ECDSA: issue it with an ECDSA key"
                    );
                }
            }
            Err((reason, detail)) => {
                self.metrics.certificate_reloads("rejected");
                let reason_text = reason.as_str();
                if self.current.load().is_some() {
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

    /// Uses `contents`, the chain and the key, if they are better than what is in use.
    fn adopt(&self, contents: &[Content]) -> Result<(Timestamp, bool), (AccessReason, String)> {
        let invalid = |detail: String| (AccessReason::CertificateInvalid, detail);
        let [chain, key] = contents else {
            return Err(invalid("two files are watched".into()));
        };
        let content = |content: &'_ Content, path: &std::path::Path| match content {
            Ok(bytes) => Ok(bytes.clone()),
            Err(error) => {
                let reason = match error {
                    io::ErrorKind::NotFound => AccessReason::SecretMissing,
                    _ => AccessReason::CertificateInvalid,
                };
                Err((reason, format!("failed to read {}: {error}", path.display())))
            }
        };
        let chain = content(chain, &self.tls.certificate_file)?;
        let key = content(key, &self.tls.key_file)?;
        let pair = KeyPair::parse(&chain, &key).map_err(|e| invalid(e.to_string()))?;
        let expires = pair.expires();
        let in_use = self.state.lock().expires;
        // An expired one only if there is nothing better: the clock may be wrong, and some clients do not look.
        if pair.has_expired(SystemTime::now()) && in_use.is_some_and(|in_use| in_use > expires) {
            return Err(invalid(format!("the certificate expired at {expires}")));
        }
        let is_rsa = pair.is_rsa();
        let config = pair.into_config(&self.tls).map_err(|e| invalid(e.to_string()))?;
        self.current.store(Some(Arc::new(config)));
        Ok((expires, is_rsa))
    }
}

/// The time before which certificates should not expire.
fn soon() -> Timestamp {
    Timestamp::now().saturating_add(EXPIRING).unwrap_or(Timestamp::MAX)
}
