//! The keys of token issuers: how they are read, chosen and kept up to date.
//!
//! Keys belong to an issuer of the configuration: a key of one never verifies a token of another, whatever their names.

mod fetch;
mod file;
mod jwk;
mod pem;
mod refresh;
mod state;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use eventcast_crds::{
    broker_status::{AccessProblem, AccessReason},
    config::TokenIssuer,
};
use eventcast_runtime::supervise::Supervisor;
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    fetch::KeyUrl,
    refresh::{FetchRequests, Refetch},
    state::{Failure, KeyState},
};

/// Keys that a set may have.
const MAX_KEYS: usize = 100;
/// How long a broker that starts waits for the keys of an issuer before it is ready.
const FIRST_LOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A key that verifies signatures.
pub(super) struct Key {
    /// Its `kid`. Keys in PEM have none.
    id: Option<String>,
    /// The algorithms that fit its kind, and its JWK's `alg` if it has one.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Key {
    pub(super) fn verifying_key(&self) -> &DecodingKey {
        &self.key
    }
}

/// The keys of an issuer.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Whether the keys have no names because their format has none, so that every one that fits is tried.
    is_pem: bool,
}

/// Why no key of a set verifies a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// No key has the `kid`.
    Unknown,
    /// The token has no `kid`, and none or several keys fit.
    Ambiguous,
    /// The key with the `kid` is for other algorithms.
    OtherAlgorithm,
}

/// Where the content of a key set comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyOrigin {
    File,
    /// A URL, or the configuration. Shared secrets are not accepted from there: others could read them and sign tokens.
    Url,
}

impl KeySet {
    /// Reads a JWK set, or keys in PEM from a file. Keys that cannot be used are left out.
    ///
    /// # Errors
    /// The content cannot be read, or no key in it can be used. Says what to do, and nothing of the content.
    fn parse(content: &[u8], origin: KeyOrigin) -> Result<Self, &'static str> {
        let is_pem =
            origin == KeyOrigin::File && content.trim_ascii_start().starts_with(b"-----BEGIN");
        let keys = if is_pem { pem::keys(content)? } else { jwk::keys(content, origin)? };
        if keys.is_empty() {
            return Err(
                "it has no key that can be used: RSA of 2048 bits or more, P-256, P-384 or Ed25519, with use sig or none; in a file \
                 also oct of 32 bytes or more",
            );
        }
        Ok(Self { keys, is_pem })
    }

    /// How many keys can be used.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that may have signed a token with the header `kid` and `algorithm`: one, or all that fit if the keys have no names.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<Vec<&Key>, NoKey> {
        let by_name = kid.filter(|_| !self.is_pem);
        let named: Vec<_> = self
            .keys
            .iter()
            .filter(|key| by_name.is_none() || key.id.as_deref() == by_name)
            .collect();
        if named.is_empty() {
            return Err(NoKey::Unknown);
        }
        let fitting: Vec<_> =
            named.into_iter().filter(|key| key.algorithms.contains(&algorithm)).collect();
        match fitting.len() {
            0 if by_name.is_some() || self.is_pem => Err(NoKey::OtherAlgorithm),
            1 => Ok(fitting),
            _ if self.is_pem => Ok(fitting),
            _ => Err(NoKey::Ambiguous),
        }
    }
}

/// Where an issuer's keys come from. Issuers that have this in common share their keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct KeySource {
    issuer: String,
    url: Option<String>,
    file: Option<PathBuf>,
    /// The keys themselves, as JSON.
    inline: Option<Vec<u8>>,
    ca_file: Option<PathBuf>,
}

impl KeySource {
    fn of(issuer: &TokenIssuer) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            url: issuer.jwks_url.clone(),
            file: issuer.key_file.clone(),
            inline: issuer.jwks.as_ref().and_then(|keys| serde_json::to_vec(keys).ok()),
            ca_file: issuer.ca_file.clone(),
        }
    }
}

/// What the tasks that keep keys up to date need.
#[derive(Clone)]
pub(crate) struct Tasks {
    pub(crate) supervisor: Supervisor,
    /// Cancelled when the channel is closed.
    pub(crate) stop: CancellationToken,
    pub(crate) issuers: Arc<Issuers>,
}

/// The keys of the issuers of all channels: channels with the same issuer share its keys.
pub(crate) struct Issuers {
    known: Mutex<HashMap<KeySource, Weak<IssuerKeys>>>,
    /// Cancelled when the broker stops.
    stop: CancellationToken,
}

impl Issuers {
    pub(crate) fn new(stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), stop })
    }

    /// The keys from `source`, made with `make` if no channel has them.
    fn get(&self, source: KeySource, make: impl FnOnce() -> Arc<IssuerKeys>) -> Arc<IssuerKeys> {
        let mut known = self.known.lock();
        if let Some(keys) = known.get(&source).and_then(Weak::upgrade) {
            return keys;
        }
        if known.len() == known.capacity() {
            known.retain(|_, keys| keys.strong_count() > 0);
        }
        let keys = make();
        known.insert(source, Arc::downgrade(&keys));
        keys
    }
}

/// The keys of one issuer, kept up to date until this is dropped.
pub(super) struct IssuerKeys {
    source: KeySource,
    state: Arc<KeyState>,
    /// For keys from a URL.
    requests: Option<Arc<FetchRequests>>,
    began: Instant,
    _stop: DropGuard,
}

/// What is known about a key that a token names and that is not among the loaded keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownKey {
    /// The keys were loaded again: look the key up once more.
    Reloaded,
    /// The issuer has no such key.
    Certain,
    /// The keys could not be loaded again: the issuer may have it.
    Uncertain,
}

impl IssuerKeys {
    /// The keys of `issuer`: those of `known` or of another channel if they have the same source, so that they stay loaded.
    pub(super) fn of(issuer: &TokenIssuer, known: &[Arc<Self>], tasks: &Tasks) -> Arc<Self> {
        let source = KeySource::of(issuer);
        if let Some(same) = known.iter().find(|keys| keys.source == source) {
            return Arc::clone(same);
        }
        tasks.issuers.get(source.clone(), || Self::load(source, tasks))
    }

    /// Loads the keys, and keeps them up to date.
    fn load(source: KeySource, tasks: &Tasks) -> Arc<Self> {
        let stop = tasks.issuers.stop.child_token();
        let name = format!("keys of {}", source.issuer);
        let (state, requests) = match (&source.inline, &source.file, &source.url) {
            (Some(keys), _, _) => {
                let state = Arc::new(KeyState::watched());
                load_inline(keys, &state);
                (state, None)
            }
            (None, Some(path), _) => {
                let state = Arc::new(KeyState::watched());
                // At once: a broker with files has keys before its first request.
                file::load(path, &state);
                let watch = file::watch(path.clone(), Arc::clone(&state));
                let watch = stop.clone().run_until_cancelled_owned(watch);
                tasks.supervisor.spawn(name, &stop, watch);
                (state, None)
            }
            (None, None, url) => {
                let (state, requests) = <(Arc<KeyState>, Arc<FetchRequests>)>::default();
                let url = url.as_deref().and_then(|url| KeyUrl::new(url, source.ca_file.clone()));
                if let Some(url) = url {
                    let fetch = move || {
                        let url = url.clone();
                        async move { url.fetch().await }
                    };
                    let refresh =
                        refresh::keep_fresh(Arc::clone(&state), Arc::clone(&requests), fetch);
                    let refresh = stop.clone().run_until_cancelled_owned(refresh);
                    tasks.supervisor.spawn(name, &stop, refresh);
                }
                (state, Some(requests))
            }
        };
        let (began, _stop) = (Instant::now(), stop.drop_guard());
        Arc::new(Self { source, state, requests, began, _stop })
    }

    /// Loads the keys again because a token names one that they do not contain, unless that happened a moment ago.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn reload_for_unknown_key(&self) -> UnknownKey {
        let refetch = match &self.requests {
            Some(requests) => requests.refetch().await,
            None => Refetch::TooEarly,
        };
        match refetch {
            Refetch::Busy => UnknownKey::Uncertain,
            Refetch::Ended | Refetch::TooEarly if !self.state.is_certain() => UnknownKey::Uncertain,
            Refetch::Ended => UnknownKey::Reloaded,
            Refetch::TooEarly => UnknownKey::Certain,
        }
    }

    /// Whether a broker that starts should wait for the keys.
    pub(super) fn is_awaited(&self) -> bool {
        let is_url = self.requests.is_some();
        is_url && self.state.age().is_none() && self.began.elapsed() < FIRST_LOAD_TIMEOUT
    }

    /// The issuer.
    pub(super) fn issuer(&self) -> &str {
        &self.source.issuer
    }

    /// How long ago the keys were last known to be those of the issuer.
    pub(super) fn age(&self) -> Option<Duration> {
        self.state.age()
    }

    /// The keys; `None` if they were never loaded, or too long ago.
    pub(super) fn get(&self) -> Option<Arc<KeySet>> {
        self.state.keys()
    }

    /// Changes whenever the keys do.
    pub(super) fn generation(&self) -> u64 {
        self.state.generation()
    }

    /// What is wrong with the keys.
    pub(super) fn problem(&self) -> Option<AccessProblem> {
        let (reason, detail) = self.state.problem()?;
        Some(AccessProblem { what: format!("issuer {}", self.source.issuer), reason, detail })
    }
}

/// Reads keys that are in the configuration.
fn load_inline(content: &[u8], state: &KeyState) {
    match KeySet::parse(content, KeyOrigin::Url) {
        Ok(keys) => state.succeeded(keys, content),
        Err(why) => {
            let (reason, detail) = (AccessReason::KeysInvalid, format!("cannot use jwks: {why}"));
            tracing::warn!(
                reason = reason.as_str(),
                detail,
                "the keys of an issuer cannot be used"
            );
            state.failed(Failure { reason, detail });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep};

    use super::*;

    fn issuer(url: &str) -> TokenIssuer {
        TokenIssuer { issuer: "i".into(), jwks_url: Some(url.into()), ..TokenIssuer::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_waits_for_keys_for_a_limited_time_and_keeps_those_with_the_same_source() {
        let stop = CancellationToken::new();
        let issuers = Issuers::new(stop.clone());
        let tasks = Tasks { supervisor: Supervisor::default(), stop: stop.clone(), issuers };
        // Nothing listens there.
        let first = IssuerKeys::of(&issuer("http://127.0.0.1:1/"), &[], &tasks);
        assert!(first.is_awaited());
        advance(FIRST_LOAD_TIMEOUT).await;
        assert!(!first.is_awaited());
        let known = [Arc::clone(&first)];
        let narrowed = TokenIssuer { leeway_seconds: 1, ..issuer("http://127.0.0.1:1/") };
        assert!(Arc::ptr_eq(&first, &IssuerKeys::of(&narrowed, &known, &tasks)));
        let of_another_channel = IssuerKeys::of(&narrowed, &[], &tasks);
        assert!(Arc::ptr_eq(&first, &of_another_channel));
        drop(of_another_channel);
        let moved = IssuerKeys::of(&issuer("http://127.0.0.1:2/"), &known, &tasks);
        assert!(!Arc::ptr_eq(&first, &moved) && moved.is_awaited());
        let state = Arc::downgrade(&first.state);
        drop((first, known, moved));
        sleep(Duration::from_millis(10)).await;
        assert_eq!(state.strong_count(), 0, "the task of an issuer ends with it");
    }
}
