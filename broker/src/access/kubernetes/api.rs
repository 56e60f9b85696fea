//! Questions to the API server: TokenReview and LocalSubjectAccessReview.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use eventcast_crds::{
    GROUP,
    broker_status::{AccessProblem, AccessReason},
    config::Action,
};
use http::{Method, Request, header};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec},
};
use kube::{Client, Config, core::ObjectMeta};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};

use crate::access::credential::{Denied, Invalid};

/// Questions at the same time, of all channels.
const MAX_CONCURRENT: usize = 8;
/// How long a question may take, with its waiting.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The resource that roles name.
const RESOURCE: &str = "eventchannels";

const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// The user of a verified token.
pub(super) struct ReviewedUser {
    pub(super) name: Arc<str>,
    uid: Option<String>,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
}

/// The API server.
pub(super) struct ApiServer {
    client: OnceCell<Client>,
    permits: Semaphore,
    /// What the broker may not ask, by namespace; `None` is the whole cluster.
    forbidden: Mutex<BTreeMap<Option<String>, String>>,
}

impl ApiServer {
    pub(super) fn new() -> Self {
        Self {
            client: OnceCell::new(),
            permits: Semaphore::new(MAX_CONCURRENT),
            forbidden: Mutex::default(),
        }
    }

    /// The rights that the broker lacks for a channel in `namespace`.
    pub(super) fn problem(&self, namespace: &str) -> Option<AccessProblem> {
        let forbidden = self.forbidden.lock();
        let of_namespace = || forbidden.get(&Some(namespace.to_owned()));
        let detail = forbidden.get(&None).or_else(of_namespace)?.clone();
        Some(AccessProblem {
            what: "kubernetes".into(),
            reason: AccessReason::NoReviewRights,
            detail,
        })
    }

    /// The user of `token`, which must be for `audience`.
    ///
    /// # Errors
    /// The token is not valid, or the API server cannot be asked.
    pub(super) async fn review_token(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<ReviewedUser, Denied> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.into()),
                audiences: Some(vec![audience.into()]),
            },
            ..TokenReview::default()
        };
        let review: TokenReview = self.ask(None, TOKEN_REVIEWS, &review).await?;
        let status = review.status.unwrap_or_default();
        let is_ours = status.audiences.iter().flatten().any(|own| own == audience);
        let name = status.user.as_ref().and_then(|user| user.username.clone());
        match (status.authenticated, name, status.user) {
            // A token for the API server itself does not have our audience, and must not be accepted here.
            (Some(true), Some(name), Some(user)) if is_ours => Ok(ReviewedUser {
                name: name.into(),
                uid: user.uid,
                groups: user.groups,
                extra: user.extra,
            }),
            _ => {
                let detail = "The API server does not accept the token: its signature is not that of this cluster, its service account or pod \
                              was deleted, or it has expired.";
                Err(Invalid::new("token-review", detail).into())
            }
        }
    }

    /// Whether `user` may do `action` on the channel.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub(super) async fn review_access(
        &self,
        user: &ReviewedUser,
        action: Action,
        namespace: &str,
        channel: &str,
    ) -> Result<bool, Denied> {
        let review = LocalSubjectAccessReview {
            metadata: ObjectMeta { namespace: Some(namespace.into()), ..ObjectMeta::default() },
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.to_string()),
                uid: user.uid.clone(),
                groups: user.groups.clone(),
                extra: user.extra.clone(),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.into()),
                    resource: Some(RESOURCE.into()),
                    verb: Some(verb(action).into()),
                    namespace: Some(namespace.into()),
                    name: Some(channel.into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..LocalSubjectAccessReview::default()
        };
        let path = format!(
            "/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews"
        );
        let review: LocalSubjectAccessReview = self.ask(Some(namespace), &path, &review).await?;
        Ok(review.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }

    /// Posts a question. `namespace` is the one that the right to ask belongs to.
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        namespace: Option<&str>,
        path: &str,
        question: &Q,
    ) -> Result<A, Denied> {
        let asked = timeout(TIMEOUT, self.post(path, question)).await;
        let Ok(answer) = asked else {
            tracing::debug!(path, "the API server did not answer in time");
            return Err(Denied::Unavailable("the API server does not answer"));
        };
        match answer {
            Ok(text) => {
                self.forbidden.lock().remove(&namespace.map(str::to_owned));
                // Not parsed by the client, which would log the text if it is invalid, and the token with it.
                serde_json::from_str(&text)
                    .map_err(|_| Denied::Unavailable("the API server's answer is not understood"))
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() || status.code == 401 => {
                self.forbid(namespace, path, status.code);
                Err(Denied::Unavailable("the broker has no right to review tokens or access"))
            }
            Err(error) => {
                tracing::debug!(path, error = %error, "the API server cannot be asked");
                Err(Denied::Unavailable("the API server cannot be asked"))
            }
        }
    }

    async fn post<Q: Serialize>(&self, path: &str, question: &Q) -> Result<String, kube::Error> {
        // Never closed.
        let _permit = self.permits.acquire().await;
        let client = self.client.get_or_try_init(connect).await?;
        let body = serde_json::to_vec(question).map_err(kube::Error::SerdeError)?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(body)
            .map_err(kube::Error::HttpError)?;
        client.request_text(request).await
    }

    fn forbid(&self, namespace: Option<&str>, path: &str, code: u16) {
        let resource = path.rsplit('/').next().unwrap_or_default();
        let place = namespace.map_or("the cluster".into(), |name| format!("namespace {name}"));
        let detail = format!(
            "the API server answers {code} to create {resource} in {place}: the broker's ServiceAccount needs that right"
        );
        let known = self.forbidden.lock().insert(namespace.map(str::to_owned), detail.clone());
        if known.as_ref() != Some(&detail) {
            tracing::warn!(detail, "tokens of service accounts cannot be checked");
        }
    }
}

/// A client with the identity of the pod, or of the kubeconfig. It rereads the token when it is renewed.
async fn connect() -> Result<Client, kube::Error> {
    let mut config = Config::infer().await.map_err(kube::Error::InferConfig)?;
    // A client waits for the answer: an immediate failure is better than a late answer.
    config.default_retry = false;
    Client::try_from(config)
}

/// The verb that roles name.
const fn verb(action: Action) -> &'static str {
    match action {
        Action::Subscribe => "subscribe",
        Action::Publish => "publish",
        Action::Manage => "manage",
    }
}

#[cfg(test)]
impl ReviewedUser {
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.into(), uid: None, groups: None, extra: None }
    }
}
