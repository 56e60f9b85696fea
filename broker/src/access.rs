//! What a client may do, and which pages may act for it.

use std::{sync::Arc, time::Duration};

use eventcast_crds::config::{Access, Action, Origin, OriginPattern};
use eventcast_wire::{
    filter::Filter,
    grants::{NotGranted, Topics},
};
use tokio::time::Instant;

/// What a client may do on a channel, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    /// Who the client is, if it was authenticated.
    pub(crate) subject: Option<Arc<str>>,
    actions: Vec<Action>,
    topics: Topics,
    /// When it ends.
    until: Option<Instant>,
}

impl Grant {
    /// The grant of a client of the channel. Tokens cannot be verified yet: every client is anonymous, and a channel that asks for
    /// tokens is closed rather than open.
    pub(crate) fn anonymous(access: &Access) -> Self {
        Self {
            subject: None,
            actions: access.anonymous.clone(),
            topics: Topics::everything(),
            until: None,
        }
    }

    /// Whether the client may do `action`.
    pub(crate) fn allows(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    /// When a stream that begins now must end: with the grant, or when it is `max_age_seconds` old, less up to 20 % of jitter; 0: no
    /// maximum age.
    pub(crate) fn stream_end(&self, max_age_seconds: u64) -> Option<Instant> {
        let ms = max_age_seconds * 1000;
        let age = (ms > 0).then(|| Duration::from_millis(fastrand::u64(ms - ms / 5..=ms)));
        let end = age.map(|age| Instant::now() + age);
        self.until.into_iter().chain(end).min()
    }

    /// Narrows the filter that a client asks for to what is granted. Every filter that reads a log for a client comes from here.
    ///
    /// # Errors
    /// The client asks for topics that are not granted.
    pub(crate) fn narrow(&self, asked: Filter) -> Result<Filter, NotGranted> {
        self.topics.narrow(asked)
    }
}

/// The value of `Access-Control-Allow-Origin` for a page of `origin`; `None` if it may not read the channel. `null` is never
/// allowed (Fetch, section 3.2).
pub(crate) fn allowed_origin<'a>(access: &Access, origin: &'a str) -> Option<&'a str> {
    let mut patterns = access.allowed_origins.iter().filter_map(|p| OriginPattern::parse(p));
    let listed = Origin::parse(origin).is_some_and(|origin| patterns.any(|p| p.allows(&origin)));
    let any = access.allowed_origins.iter().any(|p| p == "*");
    if listed { Some(origin) } else { any.then_some("*") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_whole() {
        let access = Access {
            allowed_origins: vec!["https://app.example.com".into()],
            allow_credentials: true,
            ..Access::default()
        };
        assert_eq!(
            allowed_origin(&access, "https://app.example.com"),
            Some("https://app.example.com")
        );
        for origin in [
            "https://app.example.com.evil.com",
            "https://evil-app.example.com",
            "https://app.example.com:8443",
            "http://app.example.com",
            "HTTPS://APP.EXAMPLE.COM",
            "null",
            "*",
            "",
        ] {
            assert_eq!(allowed_origin(&access, origin), None, "{origin}");
        }
        let wildcard =
            Access { allowed_origins: vec!["https://*.example.com".into()], ..Access::default() };
        let echoed = allowed_origin(&wildcard, "https://a.b.example.com");
        assert_eq!(echoed, Some("https://a.b.example.com"));
        assert_eq!(allowed_origin(&wildcard, "https://example.com"), None);
        let any = Access { allowed_origins: vec!["*".into()], ..Access::default() };
        assert_eq!(allowed_origin(&any, "https://a.example"), Some("*"));
    }
}
