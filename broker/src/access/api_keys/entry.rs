//! What the broker knows of an API key: an entry of a Secret, as `eventcast-broker key` prints it. Pure.

use eventcast_crds::config::{PublishRule, SubscribeRule};
use eventcast_wire::topic::Pattern;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::{
    access::{
        grant::{AuthMethod, Grant},
        rules,
        template::Claims,
    },
    identity::Identity,
};

/// Who issues API keys.
const ISSUER: &str = "api-keys";

/// What the owner of a key may do.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Permissions {
    /// SHA-256 of the key.
    pub(crate) sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) subscribe: Option<SubscribeRule>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publish: Option<PublishRule>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) manage: bool,
    /// When the key ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<Timestamp>,
    /// The class in `access.quotas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) quota: Option<String>,
}

/// A key that the broker accepts.
pub(super) struct Entry {
    sha256: [u8; 32],
    pub(super) grant: Grant,
}

impl Entry {
    /// Reads the entry of the key `id`.
    ///
    /// # Errors
    /// It cannot be used. Says what to do, and nothing of the content.
    pub(super) fn parse(id: &str, content: &[u8]) -> Result<Self, &'static str> {
        let entry: Permissions = serde_json::from_slice(content)
            .map_err(|_| "it must be one entry as eventcast-broker key prints it")?;
        let sha256 = digest(&entry.sha256).ok_or("sha256 must have 64 hexadecimal digits")?;
        let patterns = [
            entry.subscribe.as_ref().map(|rule| &rule.topics),
            entry.publish.as_ref().map(|rule| &rule.topics),
            entry.publish.as_ref().map(|rule| &rule.types),
        ];
        if patterns.into_iter().flatten().flatten().any(|pattern| Pattern::new(pattern).is_err()) {
            return Err("topics and types must be patterns such as orders.*");
        }
        // Here {sub} in a source is the id of the key.
        let claims: Claims = [("sub".to_owned(), json!(id))].into_iter().collect();
        let grant = Grant {
            auth_method: AuthMethod::ApiKey,
            identity: Some(Identity { issuer: ISSUER.into(), subject: id.into() }),
            subscribe: rules::subscribe(entry.subscribe.as_ref(), None, &claims),
            publish: rules::publish(entry.publish.as_ref(), None, &claims),
            manage: entry.manage,
            issued_at: None,
            expires: entry.not_after.map(Timestamp::as_second),
            quota: entry.quota.map(Into::into),
            ticket: None,
        };
        Ok(Self { sha256, grant })
    }

    /// Whether this is the entry of the key with this hash. Takes the same time for every other key.
    pub(super) fn is_of(&self, sha256: &[u8; 32]) -> bool {
        self.sha256.ct_eq(sha256).into()
    }
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_strictly() {
        let hash = "0f".repeat(32);
        let parse =
            |rest: &str| Entry::parse("ci", format!(r#"{{"sha256":"{hash}"{rest}}}"#).as_bytes());
        let entry = parse(r#","publish":{"topics":["a.*"],"source":"/keys/{sub}"},"notAfter":"2030-01-01T00:00:00Z""#).unwrap();
        assert_eq!(entry.sha256, [15; 32]);
        assert_eq!(entry.grant.expires, Some(1_893_456_000));
        let publish = entry.grant.publish.unwrap();
        assert_eq!(publish.source.as_deref(), Some("/keys/ci"));
        assert!(publish.check(Some("a.b"), "x").is_ok() && publish.check(None, "x").is_err());
        assert!(!entry.grant.manage && entry.grant.subscribe.is_none());
        for bad in [
            r#","mange":true"#,
            r#","publish":{"topics":["a..b"]}"#,
            r#","notAfter":"tomorrow""#,
            r#","sha256":"00""#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for bad in
            ["", "{}", r#"{"sha256":"0f"}"#, &format!(r#"{{"sha256":"{}"}}"#, "zz".repeat(32))]
        {
            assert!(Entry::parse("ci", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
