//! Claim templates: patterns of topics in which a claim in braces is a whole segment. Pure.
//!
//! A claim's value becomes exactly one segment and never a wildcard: `%`, `.` are encoded as `%25`, `%2E`, and a lone `*` or `>` as
//! `%2A` or `%3E`. Different values never become the same segment.

use eventcast_wire::topic::Pattern;
use serde_json::{Map, Value};

/// The longest value of a claim that becomes a segment, in bytes.
const MAX_VALUE_BYTES: usize = 200;
/// Patterns that one template may become: a claim that is a list gives one for each value.
const MAX_PATTERNS: usize = 32;

/// The claims of a verified credential.
pub(super) type Claims = Map<String, Value>;

/// The patterns that `template` becomes with `claims`. A claim that is missing or cannot be a segment gives none.
pub(super) fn patterns(template: &str, claims: &Claims) -> Vec<Pattern> {
    expand(template, claims, segment)
        .iter()
        .filter_map(|pattern| Pattern::new(pattern).ok())
        .collect()
}

/// The text that `template` becomes with `claims`, each with one value: for a source. `None` if a claim is missing or is a list.
pub(super) fn text(template: &str, claims: &Claims) -> Option<String> {
    let plain = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    let mut texts = expand(template, claims, plain);
    if texts.len() == 1 { texts.pop() } else { None }
}

fn expand(template: &str, claims: &Claims, encode: fn(&str) -> Option<String>) -> Vec<String> {
    let mut done = vec![String::new()];
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((claim, after)) = after.split_once('}') else { return Vec::new() };
        let values: Vec<_> = values(claim, claims)
            .into_iter()
            .filter(|v| is_usable(v))
            .filter_map(|v| encode(&v))
            .collect();
        done = done
            .iter()
            .flat_map(|begun| values.iter().map(move |value| format!("{begun}{before}{value}")))
            .take(MAX_PATTERNS)
            .collect();
        rest = after;
    }
    done.iter_mut().for_each(|begun| begun.push_str(rest));
    done
}

fn is_usable(value: &str) -> bool {
    !value.is_empty() && value.len() <= MAX_VALUE_BYTES && !value.chars().any(char::is_control)
}

/// The segment for a value.
fn segment(value: &str) -> Option<String> {
    Some(match value {
        "*" => "%2A".into(),
        ">" => "%3E".into(),
        value => value.replace('%', "%25").replace('.', "%2E"),
    })
}

/// The values of a claim, which may be nested (`realm_access.roles`). A claim with exactly this name wins.
pub(super) fn values(claim: &str, claims: &Claims) -> Vec<String> {
    fn scalar(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }
    let nested = || {
        let mut parts = claim.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    };
    match claims.get(claim).or_else(nested) {
        Some(Value::Array(list)) => list.iter().filter_map(scalar).collect(),
        Some(value) => scalar(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "shorter calls")]
    fn claims(value: Value) -> Claims {
        value.as_object().cloned().unwrap_or_default()
    }

    fn texts(template: &str, value: Value) -> Vec<String> {
        patterns(template, &claims(value)).iter().map(|p| p.text().to_owned()).collect()
    }

    #[test]
    fn claims_become_segments() {
        assert_eq!(texts("user.{sub}", json!({"sub": "42"})), ["user.42"]);
        assert_eq!(texts("user.{sub}", json!({"sub": 42})), ["user.42"]);
        assert_eq!(
            texts("team.{groups}.>", json!({"groups": ["a", "b"]})),
            ["team.a.>", "team.b.>"]
        );
        assert_eq!(texts("{realm_access.roles}", json!({"realm_access": {"roles": ["x"]}})), ["x"]);
        assert_eq!(texts("{a.b}", json!({"a.b": "whole", "a": {"b": "nested"}})), ["whole"]);
        assert_eq!(texts("public.>", json!({})), ["public.>"]);
    }

    #[test]
    fn what_cannot_be_one_segment_grants_nothing() {
        let long = "x".repeat(201);
        for sub in [
            json!(""),
            json!("a\nb"),
            json!("\u{0}"),
            json!(long),
            json!(null),
            json!({}),
            json!([]),
        ] {
            assert_eq!(texts("user.{sub}", json!({"sub": sub})), [""; 0]);
        }
        assert_eq!(texts("user.{sub}", json!({})), [""; 0]);
    }

    #[test]
    fn a_value_is_never_a_wildcard_and_never_two_segments() {
        let of = |sub: &str| texts("user.{sub}", json!({"sub": sub}));
        assert_eq!(of("*"), ["user.%2A"]);
        assert_eq!(of(">"), ["user.%3E"]);
        assert_eq!(of("a.b"), ["user.a%2Eb"]);
        assert_eq!(of("%2E"), ["user.%252E"]);
    }

    #[test]
    fn a_source_has_one_value() {
        assert_eq!(
            text("/users/{sub}", &claims(json!({"sub": "a.b"}))).as_deref(),
            Some("/users/a.b")
        );
        assert_eq!(text("/users/{sub}", &claims(json!({"sub": ["a", "b"]}))), None);
    }

    proptest! {
        #[test]
        fn different_values_are_different_segments(a in "[a.%*>2E]{1,4}", b in "[a.%*>2E]{1,4}") {
            let of = |sub: &str| texts("user.{sub}", json!({"sub": sub}));
            let (first, second) = (of(&a), of(&b));
            prop_assert_eq!(first == second, a == b);
            for pattern in first {
                prop_assert_eq!(pattern.split('.').count(), 2);
                let pattern = Pattern::new(&pattern).unwrap();
                prop_assert!(pattern.matches(pattern.text()), "it matches itself alone");
                prop_assert!(!pattern.matches("user.other") && !pattern.matches("user"));
            }
        }
    }
}
