//! A cache of verified tokens: publishers and reconnecting clients present the same token again and again.
//!
//! Good and refused tokens are in separate caches, so that a flood of bad ones does not evict the good. Entries have the SHA-256 of the
//! token as their key. They are invalid when any keys change (`generation`); a change of the configuration makes a new cache.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{credential::Invalid, grant::Grant};

/// Good tokens that are cached.
const MAX_GOOD: usize = 16_384;
/// How long a good token is not verified again, in seconds.
const GOOD_SECONDS: i64 = 60;
/// Refused tokens that are cached.
const MAX_REFUSED: usize = 4096;
/// How long a refused token is not verified again.
const REFUSED_TIME: Duration = Duration::from_secs(10);

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

#[derive(Clone)]
struct Good {
    grant: Arc<Grant>,
    /// Seconds since 1970.
    until: i64,
    generation: u64,
}

#[derive(Clone)]
struct Refused {
    invalid: Arc<Invalid>,
    until: Instant,
    generation: u64,
}

/// The tokens that were verified recently.
pub(super) struct TokenCache {
    // Made with the first token: most channels of many have none.
    good: OnceLock<Cache<TokenHash, Good>>,
    refused: OnceLock<Cache<TokenHash, Refused>>,
}

impl TokenCache {
    pub(super) fn new() -> Self {
        Self { good: OnceLock::new(), refused: OnceLock::new() }
    }

    /// The grant of a good token, at `now` in seconds since 1970.
    pub(super) fn good(&self, id: TokenHash, generation: u64, now: i64) -> Option<Arc<Grant>> {
        let found = self.good.get()?.get(&id)?;
        (found.generation == generation && now < found.until).then_some(found.grant)
    }

    pub(super) fn keep_good(&self, id: TokenHash, generation: u64, grant: &Arc<Grant>, now: i64) {
        let until = now.saturating_add(GOOD_SECONDS).min(grant.expires.unwrap_or(i64::MAX));
        let good = self.good.get_or_init(|| Cache::new(MAX_GOOD));
        good.insert(id, Good { grant: Arc::clone(grant), until, generation });
    }

    /// Why a token was refused.
    pub(super) fn refused(&self, id: TokenHash, generation: u64) -> Option<Invalid> {
        let found = self.refused.get()?.get(&id)?;
        let is_known = found.generation == generation && Instant::now() < found.until;
        is_known.then(|| (*found.invalid).clone())
    }

    pub(super) fn keep_refused(&self, id: TokenHash, generation: u64, invalid: &Invalid) {
        let invalid = Arc::new(invalid.clone());
        let until = Instant::now() + REFUSED_TIME;
        let refused = self.refused.get_or_init(|| Cache::new(MAX_REFUSED));
        refused.insert(id, Refused { invalid, until, generation });
    }
}

#[cfg(test)]
mod tests {
    use eventcast_crds::config::Access;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_known_ends_with_time_the_token_and_the_keys() {
        let (cache, id) = (TokenCache::new(), TokenHash::of("a"));
        let grant = Grant { expires: Some(1030), ..Grant::anonymous(&Access::open()) };
        cache.keep_good(id, 1, &Arc::new(grant.clone()), 1000);
        assert!(cache.good(id, 1, 1029).is_some());
        assert!(cache.good(id, 1, 1030).is_none(), "the token has expired");
        assert!(cache.good(id, 2, 1001).is_none(), "keys have changed");
        assert!(cache.good(TokenHash::of("b"), 1, 1001).is_none(), "another token");
        cache.keep_good(id, 1, &Arc::new(Grant { expires: Some(9000), ..grant }), 1000);
        assert!(cache.good(id, 1, 1059).is_some() && cache.good(id, 1, 1060).is_none());

        cache.keep_refused(id, 1, &Invalid::new("signature", ""));
        assert_eq!(cache.refused(id, 1).map(|i| i.check), Some("signature"));
        assert_eq!(cache.refused(id, 2), None, "keys have changed");
        tokio::time::advance(REFUSED_TIME).await;
        assert_eq!(cache.refused(id, 1), None);
    }

    #[test]
    fn refused_tokens_do_not_evict_good_ones() {
        let cache = TokenCache::new();
        let (good, grant) = (TokenHash::of("good"), Arc::new(Grant::anonymous(&Access::open())));
        cache.keep_good(good, 0, &grant, 0);
        for i in 0..2 * MAX_GOOD {
            cache.keep_refused(TokenHash::of(&i.to_string()), 0, &Invalid::new("form", ""));
        }
        assert!(cache.good(good, 0, 1).is_some());
        assert!(cache.refused.get().is_some_and(|refused| refused.len() <= MAX_REFUSED));
    }
}
