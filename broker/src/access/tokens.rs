//! Verifies the tokens of a channel's issuers: chooses the issuer whose keys and rules apply, and caches the results.

use std::{
    num::NonZero,
    sync::{Arc, LazyLock},
    thread::available_parallelism,
    time::Duration,
};

use eventcast_crds::{
    broker_status::AccessProblem,
    config::{Access, TokenIssuer},
};

use tokio::sync::Semaphore;

use super::{
    cache::{TokenCache, TokenHash},
    credential::{Denied, Invalid},
    grant::Grant,
    jwt::{Refusal, Unverified},
    keys::{IssuerKeys, Tasks, UnknownKey},
};
use crate::clock;

/// Signatures that are verified at a time: one for each processor. Each takes up to 0.1 ms of a thread of the runtime. After a restart all
/// clients reconnect with a token, and their tasks must not delay those of publishers in the queue of the runtime.
static SIGNATURES: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(2, NonZero::get)));

/// An issuer of the configuration with its keys.
struct Issuer {
    config: TokenIssuer,
    keys: Arc<IssuerKeys>,
}

/// Verifies the tokens of the issuers of one channel, for one version of its configuration.
pub(super) struct Tokens {
    issuers: Vec<Issuer>,
    cache: TokenCache,
}

impl Tokens {
    /// For the issuers of `access`. Those of `previous` whose keys have the same source keep them.
    pub(super) fn new(access: &Access, previous: Option<&Self>, tasks: &Tasks) -> Self {
        let mut known: Vec<_> = previous
            .map(|previous| {
                previous.issuers.iter().map(|issuer| Arc::clone(&issuer.keys)).collect()
            })
            .unwrap_or_default();
        let issuers = access.tokens.iter().map(|config| {
            let keys = IssuerKeys::of(config, &known, tasks);
            known.push(Arc::clone(&keys));
            Issuer { config: config.clone(), keys }
        });
        Self { issuers: issuers.collect(), cache: TokenCache::new() }
    }

    /// The grant of a token that was verified recently.
    pub(super) fn recognise(&self, token: &str) -> Option<Arc<Grant>> {
        self.cache.good(TokenHash::of(token), self.generation(), clock::now_seconds())
    }

    /// Whether a token, which is not verified, names one of the issuers and its audience.
    pub(super) fn has_issuer_of(&self, token: &str) -> bool {
        let Ok(token) = Unverified::parse(token) else { return false };
        let Ok(name) = token.issuer() else { return false };
        let mut named = self.issuers.iter().filter(|issuer| issuer.config.issuer == name);
        named.any(|issuer| token.names_audience(&issuer.config.audience))
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// It is not valid, or keys are missing.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn verify(&self, token: &str) -> Result<Arc<Grant>, Denied> {
        // Taken before the keys are read: if they change meanwhile, the cached result is not used.
        let (id, generation) = (TokenHash::of(token), self.generation());
        if let Some(invalid) = self.cache.refused(id, generation) {
            return Err(invalid.into());
        }
        let now = clock::now_seconds();
        match self.verify_uncached(token, now).await {
            Ok(grant) => {
                let grant = Arc::new(grant);
                self.cache.keep_good(id, generation, &grant, now);
                Ok(grant)
            }
            Err(denied) => {
                // Refusals that time or new keys may change are not cached. They cost no verification of a signature.
                if let Denied::Invalid(invalid) = &denied
                    && !matches!(invalid.check, "unknown-key" | "not-yet-valid")
                {
                    self.cache.keep_refused(id, generation, invalid);
                }
                Err(denied)
            }
        }
    }

    async fn verify_uncached(&self, token: &str, now: i64) -> Result<Grant, Denied> {
        let token = Unverified::parse(token)?;
        let issuer = self.issuer(&token)?;
        let verify = async || {
            let _turn = SIGNATURES.acquire().await;
            let keys = issuer.keys.get().ok_or(NO_KEYS)?;
            Ok::<_, Denied>(token.verify(&issuer.config, &keys, now))
        };
        match verify().await? {
            Ok(grant) => Ok(grant),
            Err(Refusal::Invalid(invalid)) => Err(invalid.into()),
            Err(Refusal::UnknownKey(unknown)) => match issuer.keys.reload_for_unknown_key().await {
                UnknownKey::Certain => Err(unknown.into()),
                UnknownKey::Uncertain => Err(KEYS_AWAY),
                UnknownKey::Reloaded => verify().await?.map_err(|refusal| match refusal {
                    Refusal::Invalid(invalid) | Refusal::UnknownKey(invalid) => invalid.into(),
                }),
            },
        }
    }

    /// The issuer whose rules and keys apply: the one that the token names. Of several entries with this name, the first with an audience
    /// of the token, so that a token for none of them fails on its audience.
    fn issuer(&self, token: &Unverified<'_>) -> Result<&Issuer, Invalid> {
        let name = token.issuer()?;
        let named = || self.issuers.iter().filter(|issuer| issuer.config.issuer == name);
        let meant = named().find(|issuer| token.names_audience(&issuer.config.audience));
        meant.or_else(|| named().next()).ok_or_else(|| {
            let detail = "The token is from an issuer (iss) that the channel does not know. It must be one of access.tokens, letter by \
                          letter.";
            Invalid::new("issuer", detail)
        })
    }

    fn generation(&self) -> u64 {
        self.issuers.iter().map(|issuer| issuer.keys.generation()).sum()
    }

    /// The first issuer whose keys a broker that starts should wait for.
    pub(super) fn awaited(&self) -> Option<&str> {
        self.issuers.iter().map(|issuer| &issuer.keys).find(|k| k.is_awaited()).map(|k| k.issuer())
    }

    /// The name of each issuer, the number of its keys, and how long ago they were known to be right.
    pub(super) fn loaded(&self) -> impl Iterator<Item = (&str, usize, Option<Duration>)> {
        self.issuers.iter().map(|issuer| {
            let keys = &issuer.keys;
            (keys.issuer(), keys.get().map_or(0, |keys| keys.len()), keys.age())
        })
    }

    /// What is wrong with the keys of each issuer.
    pub(super) fn problems(&self) -> Vec<AccessProblem> {
        let mut problems: Vec<_> =
            self.issuers.iter().filter_map(|issuer| issuer.keys.problem()).collect();
        problems.dedup();
        problems
    }
}

const KEYS_AWAY: Denied =
    Denied::Unavailable("the token names a new key, and the keys of its issuer cannot be loaded");
const NO_KEYS: Denied = Denied::Unavailable("the keys of the token's issuer were not loaded yet");
