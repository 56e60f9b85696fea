//! What clients with a certificate may do, by the names in it. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PublishRule, SubscribeRule};

/// What clients with certain client certificates may do. The name of a client is the URI name of its certificate (SPIFFE); if it has none,
/// its first DNS name, in lower case. In topics and in `source`, `{name}` stands for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateRule {
    /// Names that the rule is for; all if empty. In a URI, `*` stands for one segment between slashes
    /// (`spiffe://example.org/ns/*/sa/orders`), in a DNS name for one label (`*.devices.example.com`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)))]
    pub names: Vec<String>,
    /// What they may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<SubscribeRule>,
    /// What they may publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<PublishRule>,
    /// Whether they may manage the channel. Needs `names`.
    pub manage: bool,
    /// The class in `quotas` of these clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub quota: Option<String>,
}

impl CertificateRule {
    /// Whether the rule is for `name`.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|pattern| matches(pattern, name))
    }
}

/// What separates the parts of a name of which a star stands for one. DNS names have no colon, and URIs begin with a scheme and a colon.
fn separator(name: &str) -> char {
    if name.contains(':') { '/' } else { '.' }
}

fn matches(pattern: &str, name: &str) -> bool {
    let separator = separator(pattern);
    if separator != self::separator(name) {
        return false;
    }
    let (mut wanted, mut found) = (pattern.split(separator), name.split(separator));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(wanted), Some(part)) if wanted == part => {}
            _ => return false,
        }
    }
}

/// Whether `text` is a pattern of names. One that is not might never match, or match more than its author thinks.
pub(super) fn is_name_pattern(text: &str) -> bool {
    let separator = separator(text);
    let is_label = |part: &str| {
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
        !part.is_empty() && part.bytes().all(known)
    };
    let is_part =
        |part: &str| part == "*" || !part.contains('*') && (separator == '/' || is_label(part));
    (1..=256).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic())
        && text.split(separator).all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_part_of_a_name() {
        for (pattern, name, wanted) in [
            ("a.example.com", "a.example.com", true),
            ("a.example.com", "b.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("a.*.com", "a.example.com", true),
            ("*.example.com", "a.example.com.evil.org", false),
            ("*", "localhost", true),
            ("*", "a.example.com", false),
            ("spiffe://a.example/ns/*/sa/orders", "spiffe://a.example/ns/shop/sa/orders", true),
            ("spiffe://a.example/ns/*/sa/orders", "spiffe://a.example/ns/shop/x/sa/orders", false),
            ("spiffe://a.example/ns/*/sa/orders", "spiffe://a.example/ns//sa/orders", false),
            ("spiffe://a.example/ns/*/sa/orders", "spiffe://b.example/ns/shop/sa/orders", false),
            ("spiffe://*/api", "spiffe://a.b.example/api", true),
            ("spiffe://*", "spiffe://a.example/api", false),
            ("*", "spiffe://a.example/api", false),
            ("*.example", "spiffe://a.example", false),
            ("urn:uuid:7", "urn:uuid:7", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
        assert!(CertificateRule::default().covers("anything"), "no pattern: all");
    }

    #[test]
    fn patterns_have_whole_stars_and_labels_in_lower_case() {
        for good in ["*", "a.b", "*.a-b.c_d", "spiffe://*/ns/*/sa/Orders", "urn:uuid:7", "x:/a//b"]
        {
            assert!(is_name_pattern(good), "{good}");
        }
        let long = "a".repeat(257);
        for bad in
            ["", "a*", "A.example", "a..b", "*.", "spiffe://a/x*", "a b", "a/b", "ä.b", &long]
        {
            assert!(!is_name_pattern(bad), "{bad}");
        }
    }
}
