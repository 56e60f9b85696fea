//! Validates the access control of a channel.

use std::collections::HashSet;

use super::{Problems, is_pattern};
use crate::config::{
    Access, Action, CertificateRule, JwkSet, OriginPattern, PublishRule, SubscribeRule,
    TokenIssuer, certificates::is_name_pattern,
};

const PATTERN: &str = "must be up to 16 segments joined by dots, such as user.42, user.* or user.>, with > only as the last one";
const NAME: &str = "must be a URI, such as spiffe://example.org/ns/*/sa/orders, or a DNS name in lower case, such as *.devices.example.com, of at most 256 \
     bytes. A star stands for one segment or label";
const TEMPLATE: &str =
    "must be a pattern of topics in which a claim in braces is a whole segment, such as user.{sub}";

impl Access {
    pub(super) fn problems(&self, path: &str, p: &mut Problems) {
        let at = |key: &str| format!("{path}.{key}");
        p.check(
            at("anonymous"),
            !self.anonymous.contains(&Action::Manage),
            "Manage always needs a credential: remove it",
        );
        for (i, topic) in self.anonymous_topics.iter().enumerate() {
            p.check(at(&format!("anonymousTopics[{i}]")), is_pattern(topic), PATTERN);
        }
        let mut issuers = HashSet::new();
        for (i, token) in self.tokens.iter().enumerate() {
            let path = at(&format!("tokens[{i}]"));
            token.problems(&path, p);
            let unique = issuers.insert((&token.issuer, &token.audience));
            p.check(&path, unique, "another issuer has the same issuer and audience");
            self.check_class(&path, token.quota.as_ref(), p);
        }
        for (i, rule) in self.certificates.iter().enumerate() {
            let path = at(&format!("certificates[{i}]"));
            rule.problems(&path, p);
            self.check_class(&path, rule.quota.as_ref(), p);
        }
        if let Some(kubernetes) = &self.kubernetes {
            p.check(
                at("kubernetes.audience"),
                !kubernetes.audience.is_empty(),
                "must not be empty",
            );
            self.check_class(&at("kubernetes"), kubernetes.quota.as_ref(), p);
        }
        p.check(
            at("cookie.name"),
            is_token(&self.cookie.name) && self.cookie.name.len() <= 128,
            "must be the name of a cookie, such as __Host-eventcast",
        );
        let seconds = self.tickets.max_seconds;
        p.check(
            at("tickets.maxSeconds"),
            seconds == 0 || (30..=3600).contains(&seconds),
            format!("{seconds} is not in 30..=3600, nor 0 for no tickets"),
        );
        let mut classes = HashSet::new();
        for (i, quota) in self.quotas.iter().enumerate() {
            let at = at(&format!("quotas[{i}].name"));
            p.check(
                &at,
                !quota.name.is_empty() && quota.name.len() <= 63,
                "must have 1 to 63 bytes",
            );
            p.check(at, classes.insert(&quota.name), "another class has the same name");
        }
        let any = self.allowed_origins.iter().any(|o| o == "*");
        p.check(
            at("allowCredentials"),
            !(any && self.allow_credentials),
            "* with credentials would let every web page act as its user: list the origins",
        );
        for (i, origin) in self.allowed_origins.iter().enumerate() {
            p.check(
                at(&format!("allowedOrigins[{i}]")),
                origin == "*" || OriginPattern::parse(origin).is_some(),
                "must be scheme://host[:port] in lower case without a path, such as https://app.example.com; https://*.example.com \
                 for all subdomains; or *",
            );
        }
        for (i, name) in self.allowed_headers.iter().enumerate() {
            p.check(
                at(&format!("allowedHeaders[{i}]")),
                (1..=64).contains(&name.len())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
                "must be the name of a header, such as X-Tenant",
            );
        }
    }
}

impl Access {
    /// Checks the class of a quota that `path` names.
    fn check_class(&self, path: &str, class: Option<&String>, p: &mut Problems) {
        let known = class.is_none_or(|class| self.quotas.iter().any(|q| q.name == *class));
        p.check(format!("{path}.quota"), known, "must be the name of one of access.quotas");
    }
}

impl CertificateRule {
    fn problems(&self, path: &str, p: &mut Problems) {
        let at = |key: &str| format!("{path}.{key}");
        for (i, name) in self.names.iter().enumerate() {
            p.check(at(&format!("names[{i}]")), is_name_pattern(name), NAME);
        }
        // With nothing in the place of the name, a brace that is left belongs to something else.
        let plain = |text: &str| !text.replace("{name}", "").contains(['{', '}']);
        check_rules(path, self.subscribe.as_ref(), self.publish.as_ref(), p);
        let subscribe = self.subscribe.iter().flat_map(|rule| &rule.topics);
        let publish = self.publish.iter().flat_map(|rule| rule.topics.iter().chain(&rule.source));
        p.check(
            path,
            subscribe.chain(publish).all(|text| plain(text)),
            "the only name in braces is {name}",
        );
        p.check(
            at("manage"),
            !self.manage || !self.names.is_empty(),
            "needs names: otherwise every client with a certificate could disconnect others",
        );
    }
}

/// Checks the patterns of what may be read and published.
fn check_rules(
    path: &str,
    subscribe: Option<&SubscribeRule>,
    publish: Option<&PublishRule>,
    p: &mut Problems,
) {
    let topics = [
        ("subscribe", subscribe.map(|rule| &rule.topics)),
        ("publish", publish.map(|rule| &rule.topics)),
    ];
    for (rule, topics) in topics {
        for (i, topic) in topics.into_iter().flatten().enumerate() {
            p.check(format!("{path}.{rule}.topics[{i}]"), is_template(topic), TEMPLATE);
        }
    }
    for (i, kind) in publish.iter().flat_map(|rule| &rule.types).enumerate() {
        p.check(format!("{path}.publish.types[{i}]"), is_pattern(kind), PATTERN);
    }
}

impl TokenIssuer {
    fn problems(&self, path: &str, p: &mut Problems) {
        let at = |key: &str| format!("{path}.{key}");
        p.check(at("issuer"), !self.issuer.is_empty(), "must not be empty");
        p.check(at("audience"), !self.audience.is_empty(), "must not be empty");
        p.check(at("subjectClaim"), !self.subject_claim.is_empty(), "must not be empty");
        let sources = [self.jwks_url.is_some(), self.key_file.is_some(), self.jwks.is_some()];
        p.check(
            path,
            sources.into_iter().filter(|is_set| *is_set).count() == 1,
            "set exactly one of jwksUrl, keyFile and jwks",
        );
        for (key, message) in self.jwks.iter().flat_map(JwkSet::problems) {
            p.check(at(&format!("jwks.{key}")), false, message);
        }
        if let Some(url) = &self.jwks_url {
            p.check(
                at("jwksUrl"),
                is_jwks_url(url),
                "must be https://host/path without user, password and fragment; http only for localhost, 127.0.0.1 or [::1]",
            );
        }
        p.range(at("leewaySeconds"), self.leeway_seconds, 0, 120);
        check_rules(path, self.subscribe.as_ref(), self.publish.as_ref(), p);
        if let Some(manage) = &self.manage {
            p.check(
                at("manage.requiredClaims"),
                !manage.required_claims.is_empty(),
                "must have at least one claim: otherwise every user of the issuer could disconnect others",
            );
        }
    }
}

/// Whether `text` is a pattern in which `{claim}` may be a whole segment. A claim may contain dots (`{realm_access.roles}`).
fn is_template(text: &str) -> bool {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((claim, after)) = after.split_once('}') else { return false };
        let whole = (before.is_empty() && plain.is_empty() || before.ends_with('.'))
            && (after.is_empty() || after.starts_with('.'));
        if !whole || claim.is_empty() || claim.len() > 128 {
            return false;
        }
        plain.push_str(before);
        plain.push('x');
        rest = after;
    }
    plain.push_str(rest);
    !plain.contains('}') && is_pattern(&plain)
}

fn is_jwks_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    let (authority, _) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = if authority.starts_with('[') {
        authority.split_inclusive(']').next()
    } else {
        authority.split(':').next()
    };
    let loopback = matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"));
    let plain = url.bytes().all(|b| b.is_ascii_graphic()) && !url.contains(['#', '{', '}']);
    plain
        && url.len() <= 2048
        && !authority.contains('@')
        && host.is_some_and(|host| !host.is_empty())
        && (scheme == "https" || (scheme == "http" && loopback))
}

/// Whether `text` is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || special.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_a_whole_segment_of_a_template() {
        for good in ["user.{sub}", "{sub}", "team.{groups}.>", "{realm_access.roles}", "a.*.{b}.>"]
        {
            assert!(is_template(good), "{good}");
        }
        for bad in
            ["user{sub}", "{sub}x", "user.{sub", "user.sub}", "user.{}", "{a}{b}", "", "a..{b}"]
        {
            assert!(!is_template(bad), "{bad}");
        }
    }

    #[test]
    fn keys_are_fetched_over_tls_or_from_this_machine() {
        for good in [
            "https://a.example/keys",
            "https://a.example:8443/keys?x=1",
            "http://localhost:5556/keys",
            "http://[::1]/k",
        ] {
            assert!(is_jwks_url(good), "{good}");
        }
        for bad in [
            "http://a.example/keys",
            "https://u:p@a.example/",
            "https:///keys",
            "ftp://a/",
            "https://a/{iss}",
            "https://a/ b",
            "",
        ] {
            assert!(!is_jwks_url(bad), "{bad}");
        }
    }
}
