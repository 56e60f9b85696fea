//! Tokens of Kubernetes service accounts: the API server verifies them and decides what they may do.
//!
//! A token is reviewed about once a minute, not once a request: requests that present it at the same time share one review, and its
//! results are cached for [`TOKEN_TTL`], [`ALLOWED_TTL`] and [`DENIED_TTL`]. A failure to ask is not cached. A token that the API
//! server would certainly refuse is not sent to it ([`unverified`]), so that garbage causes no load there.

mod api;
mod unverified;
mod verdict;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use eventcast_crds::{
    broker_status::AccessProblem,
    config::{Action, KubernetesAccess},
};
use eventcast_wire::grants::Topics;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use self::{
    api::{ApiServer, ReviewedUser},
    unverified::Unverified,
    verdict::{ACTIONS, Verdict},
};
use super::{
    cache::TokenHash,
    credential::{Denied, Invalid},
    grant::{AuthMethod, Grant, PublishGrant},
};
use crate::identity::Identity;

/// How long a verified token is not verified again.
const TOKEN_TTL: Duration = Duration::from_secs(60);
/// How long an action stays allowed without being asked about.
const ALLOWED_TTL: Duration = Duration::from_secs(30);
/// How long an action stays denied, and a token refused.
const DENIED_TTL: Duration = Duration::from_secs(10);
/// How long a grant is valid. Then its streams end, and their reconnects are verified again.
const GRANT_SECONDS: i64 = 600;
/// Good tokens that are remembered.
const MAX_TOKENS: usize = 4096;
/// Refused tokens that are remembered. They are in a separate cache, so that a flood of them does not evict the good ones.
const MAX_REFUSED: usize = 1024;
/// Tokens that may be asked about or wait for it at the same time.
const MAX_REVIEWS: usize = 256;

/// The issuer of these identities.
const ISSUER: &str = "kubernetes";

/// The answer of the API server about one token, for every request that waits for it.
type Review = Shared<BoxFuture<'static, Result<Verdict, Denied>>>;

/// One client of the API server for all channels. It is connected when the first token is asked about.
static API_SERVER: LazyLock<Arc<ApiServer>> = LazyLock::new(|| Arc::new(ApiServer::new()));

/// Verifies the tokens of service accounts for one channel.
pub(super) struct ServiceAccounts {
    audience: String,
    quota: Option<Arc<str>>,
    namespace: String,
    name: String,
    api: Arc<ApiServer>,
    /// What the API server said about tokens and their actions.
    verdicts: Cache<TokenHash, Verdict>,
    refused: Cache<TokenHash, (Invalid, Instant)>,
    /// Reviews in progress.
    reviews: Mutex<HashMap<TokenHash, Review>>,
}

impl ServiceAccounts {
    pub(super) fn new(config: &KubernetesAccess, namespace: &str, name: &str) -> Arc<Self> {
        Arc::new(Self {
            audience: config.audience.clone(),
            quota: config.quota.as_deref().map(Arc::from),
            namespace: namespace.into(),
            name: name.into(),
            api: Arc::clone(&API_SERVER),
            verdicts: Cache::new(MAX_TOKENS),
            refused: Cache::new(MAX_REFUSED),
            reviews: Mutex::default(),
        })
    }

    /// Whether the API server does not let the broker ask.
    pub(super) fn problem(&self) -> Option<AccessProblem> {
        self.api.problem(&self.namespace)
    }

    /// The grant of the service account that `token` belongs to.
    ///
    /// # Errors
    /// The token is not valid, or the API server cannot be asked now.
    ///
    /// # Cancel safety
    /// Safe: the review continues, for others and for the next request.
    pub(super) async fn verify(self: &Arc<Self>, token: &str) -> Result<Arc<Grant>, Denied> {
        let claims = Unverified::parse(token)?;
        let seconds = jiff::Timestamp::now().as_second();
        claims.check(&self.audience, seconds)?;
        let hash = TokenHash::of(token);
        let verdict = match self.recall(&hash, Instant::now())? {
            Some(verdict) => verdict,
            None => self.join_review(hash, token)?.await?,
        };
        Ok(Arc::new(self.grant(&verdict, &claims, seconds)))
    }

    /// The grant of `token` if everything about it is remembered.
    pub(super) fn recognise(&self, token: &str) -> Option<Arc<Grant>> {
        let verdict = self.recall(&TokenHash::of(token), Instant::now()).ok()??;
        let claims = Unverified::parse(token).ok()?;
        let seconds = jiff::Timestamp::now().as_second();
        claims.check(&self.audience, seconds).ok()?;
        Some(Arc::new(self.grant(&verdict, &claims, seconds)))
    }

    /// Everything in the channel, for each action that is allowed. `claims` are those of a token that the API server has verified.
    fn grant(&self, verdict: &Verdict, claims: &Unverified, now: i64) -> Grant {
        let allows = |action| verdict.allows(action);
        let subject = Arc::clone(&verdict.user.name);
        Grant {
            auth_method: AuthMethod::Kubernetes,
            identity: Some(Identity { issuer: ISSUER.into(), subject }),
            subscribe: allows(Action::Subscribe).then(Topics::everything),
            publish: allows(Action::Publish).then(PublishGrant::everything),
            manage: allows(Action::Manage),
            issued_at: claims.issued_at,
            expires: Some(claims.expires.min(now.saturating_add(GRANT_SECONDS))),
            quota: self.quota.clone(),
            ticket: None,
        }
    }

    /// What is remembered of a token: all of it, or nothing.
    fn recall(&self, hash: &TokenHash, now: Instant) -> Result<Option<Verdict>, Invalid> {
        if let Some((refusal, until)) = self.refused.get(hash)
            && now < until
        {
            return Err(refusal);
        }
        Ok(self.verdicts.get(hash).filter(|verdict| verdict.is_complete(now)))
    }

    /// Joins the review of the token that runs, or starts one.
    fn join_review(self: &Arc<Self>, hash: TokenHash, token: &str) -> Result<Review, Denied> {
        let mut reviews = self.reviews.lock();
        if let Some(running) = reviews.get(&hash) {
            return Ok(running.clone());
        }
        if reviews.len() >= MAX_REVIEWS {
            return Err(Denied::Unavailable("too many tokens wait for the API server"));
        }
        let (this, token) = (Arc::clone(self), token.to_owned());
        // In a separate task, so that a client that disconnects does not cancel what others wait for.
        let task = tokio::spawn(async move {
            let outcome = this.review(&hash, &token).await;
            this.remember(hash, &outcome);
            this.reviews.lock().remove(&hash);
            outcome
        });
        let ended = Denied::Unavailable("the review of the token ended early");
        let review = task.map(|joined| joined.unwrap_or(Err(ended))).boxed().shared();
        reviews.insert(hash, review.clone());
        Ok(review)
    }

    /// Asks the API server for everything that is not cached.
    async fn review(&self, hash: &TokenHash, token: &str) -> Result<Verdict, Denied> {
        let known = self.verdicts.get(hash).filter(|known| Instant::now() < known.verified_until);
        let mut verdict = match known {
            Some(known) => known,
            None => {
                let asked = Instant::now();
                let user: ReviewedUser = self.api.review_token(token, &self.audience).await?;
                Verdict::of(user, asked + TOKEN_TTL)
            }
        };
        let asked = Instant::now();
        let user = Arc::clone(&verdict.user);
        let ask = |action: Action| {
            let (api, user) = (&self.api, Arc::clone(&user));
            async move { api.review_access(&user, action, &self.namespace, &self.name).await }
        };
        let stale = ACTIONS.map(|action| verdict.is_stale(action, asked).then(|| ask(action)));
        let answers = stale.into_iter().map(async |question| match question {
            Some(question) => question.await.map(Some),
            None => Ok(None),
        });
        let answers = futures_util::future::try_join_all(answers).await?;
        for (action, answer) in ACTIONS.into_iter().zip(answers) {
            if let Some(is_allowed) = answer {
                let ttl = if is_allowed { ALLOWED_TTL } else { DENIED_TTL };
                verdict.set(action, is_allowed, asked + ttl);
            }
        }
        Ok(verdict)
    }

    fn remember(&self, hash: TokenHash, outcome: &Result<Verdict, Denied>) {
        match outcome {
            Ok(verdict) => self.verdicts.insert(hash, verdict.clone()),
            Err(Denied::Invalid(refusal)) => {
                self.verdicts.remove(&hash);
                self.refused.insert(hash, (refusal.clone(), Instant::now() + DENIED_TTL));
            }
            Err(Denied::Unavailable(_) | Denied::TooMany(_)) => {}
        }
    }
}
