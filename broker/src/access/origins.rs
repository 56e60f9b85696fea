//! Which web pages may use a channel.

use eventcast_crds::config::{Access, Origin, OriginPattern};

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
