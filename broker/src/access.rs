//! What a client may do, and which pages may act for it.

use std::time::Duration;

use eventcast_crds::config::{Access, Action, Origin, OriginPattern};
use tokio::time::Instant;

/// What a subscriber was granted: for how long it may stay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    until: Option<Instant>,
}

impl Grant {
    /// Until the channel's age of connections, less a random fifth; for ever where that is 0.
    pub(crate) fn for_age(max_age_seconds: u64) -> Self {
        let ms = max_age_seconds * 1000;
        let until = (ms > 0)
            .then(|| Instant::now() + Duration::from_millis(fastrand::u64(ms - ms / 5..=ms)));
        Self { until }
    }

    /// When the stream must end.
    pub(crate) fn until(&self) -> Option<Instant> {
        self.until
    }
}

/// Whether `action` may be done by whoever comes. Tokens are not verified yet, so what is not anonymous is nobody's: a
/// channel that asks for tokens is shut rather than open.
pub(crate) fn permits(access: &Access, action: Action) -> bool {
    access.anonymous.contains(&action)
}

/// The origin to name in `Access-Control-Allow-Origin`, if a page of `origin` may read the channel. `null` never is one (Fetch,
/// section 3.2).
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
