//! An issuer of JSON Web Tokens with its keys in a file, and requests that carry its tokens.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use eventcast_crds::config::{ManageRule, PublishRule, SubscribeRule, TokenIssuer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    access::{SigningKey, jwk_set, now},
    broker::Broker,
    http::{Answer, Publish, Version, client},
    process,
    sse::{EventStream, Subscribe},
};

/// The issuer and the audience of all tokens.
const ISSUER: &str = "https://issuer.example/";
const AUDIENCE: &str = "eventcast";

/// An issuer.
#[derive(Debug)]
pub struct Issuer {
    folder: TempDir,
    key: SigningKey,
}

impl Issuer {
    /// One with a new secret.
    ///
    /// # Errors
    /// When its key file cannot be written.
    pub fn new() -> Result<Self> {
        let secret: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
        Self::with_key(SigningKey::hs256("1", &secret))
    }

    /// One that signs with `key`.
    ///
    /// # Errors
    /// When its key file cannot be written.
    pub fn with_key(key: SigningKey) -> Result<Self> {
        let issuer = Self { folder: process::folder("eventcast-issuer-")?, key };
        std::fs::write(issuer.key_file(), jwk_set(&[&issuer.key]).to_string())?;
        Ok(issuer)
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// How a channel trusts it: every subject reads and publishes `user.{sub}` and reads broadcasts; the role `admin` may manage.
    #[must_use]
    pub fn trusted(&self) -> TokenIssuer {
        let topics = vec!["user.{sub}".to_owned()];
        let role = [("role".to_owned(), "admin".to_owned())];
        TokenIssuer {
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            key_file: Some(self.key_file()),
            leeway_seconds: 0,
            subscribe: Some(SubscribeRule { topics: topics.clone(), broadcast: true }),
            publish: Some(PublishRule { topics, ..PublishRule::default() }),
            manage: Some(ManageRule { required_claims: role.into() }),
            grants_claim: Some("grants".into()),
            ..TokenIssuer::default()
        }
    }

    /// A token for `subject` that lives `seconds`, with `more` claims.
    #[must_use]
    pub fn token(&self, subject: &str, seconds: i64, more: Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now(), "exp": now() + seconds,
        });
        if let (Value::Object(claims), Value::Object(more)) = (&mut claims, more) {
            claims.extend(more);
        }
        self.key.sign(&claims)
    }

    /// A token for a user, good for ten minutes.
    #[must_use]
    pub fn user(&self, subject: &str) -> String {
        self.token(subject, 600, json!({}))
    }

    /// A token that may read, publish and manage everything.
    #[must_use]
    pub fn admin(&self) -> String {
        let grants = json!({"subscribe": [">"], "publish": [">"], "broadcast": true});
        self.token("admin", 600, json!({"role": "admin", "grants": grants}))
    }
}

/// The header that carries a token.
#[must_use]
pub fn bearer(token: &str) -> (String, String) {
    ("Authorization".into(), format!("Bearer {token}"))
}

/// Subscribes with a token.
///
/// # Errors
/// As [`EventStream::open`].
pub async fn subscribe(url: &str, token: &str, version: Version) -> Result<EventStream> {
    let headers = vec![bearer(token)];
    EventStream::open(Subscribe { url: url.into(), version, headers, ..Subscribe::default() }).await
}

/// Publishes `data` to the topic of the user `ann`, with a token of theirs.
///
/// # Errors
/// When it is not stored.
pub async fn publish(broker: &Broker, issuer: &Issuer, data: &str) -> Result<()> {
    let (name, value) = bearer(&issuer.user("ann"));
    let event = Publish::new(data).topic("user.ann").header(&name, &value);
    let answer = event.send(&client(Version::Http1), &broker.events_url("")).await?;
    ensure!(answer.status == 201, "{} {}", answer.status, answer.json);
    Ok(())
}

/// A request with a token and, for POST, a JSON body.
///
/// # Errors
/// When no response arrives.
pub async fn request(method: &str, url: &str, token: &str, body: Option<Value>) -> Result<Answer> {
    let mut request = client(Version::Http1).request(method.parse()?, url).bearer_auth(token);
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    Answer::read(request.send().await?).await
}
