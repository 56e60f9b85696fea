//! From the claims of a verified credential to a grant, by the rules of its issuer. Pure.

use std::{collections::BTreeMap, sync::Arc};

use eventcast_crds::config::{PublishRule, SubscribeRule, TokenIssuer};
use eventcast_wire::{grants::Topics, topic::Pattern};
use serde_json::Value;

use super::{
    grant::{AuthMethod, Grant, PublishGrant},
    template::{self, Claims},
};
use crate::identity::Identity;

/// Patterns that one kind of grant may have.
const MAX_PATTERNS: usize = 32;

/// The grant of a token with `claims`, which were verified, for `subject`. Topics beyond the most that a grant may have are dropped.
pub(super) fn grant(issuer: &TokenIssuer, subject: &str, claims: &Claims) -> Grant {
    let own = issuer.grants_claim.as_ref().and_then(|claim| claims.get(claim));
    Grant {
        auth_method: AuthMethod::Token,
        identity: Some(Identity { issuer: issuer.issuer.as_str().into(), subject: subject.into() }),
        subscribe: subscribe(issuer.subscribe.as_ref(), own, claims),
        publish: publish(issuer.publish.as_ref(), own, claims),
        manage: own.and_then(|own| own.get("manage")) == Some(&Value::Bool(true))
            || issuer.manage.as_ref().is_some_and(|rule| {
                !rule.required_claims.is_empty() && has_claims(&rule.required_claims, claims)
            }),
        issued_at: None,
        expires: None,
        quota: issuer.quota.as_deref().map(Arc::from),
        ticket: None,
    }
}

/// Whether `claims` have all of `required`.
pub(super) fn has_claims(required: &BTreeMap<String, String>, claims: &Claims) -> bool {
    required.iter().all(|(claim, value)| template::values(claim, claims).contains(value))
}

/// What may be read according to a rule and to `own`, the claim of the token that grants more.
pub(super) fn subscribe(
    rule: Option<&SubscribeRule>,
    own: Option<&Value>,
    claims: &Claims,
) -> Option<Topics> {
    let of_claim = listed(own, "subscribe");
    // A rule that excludes events without a topic applies to the claim, too.
    let broadcast = rule.map_or(of_claim.is_some(), |rule| rule.broadcast);
    let templates = rule.map(|rule| &rule.topics);
    (rule.is_some() || of_claim.is_some())
        .then(|| Topics::new(topics(templates, of_claim, claims), broadcast))
}

/// What may be published according to a rule and to `own`, the claim of the token that grants more.
pub(super) fn publish(
    rule: Option<&PublishRule>,
    own: Option<&Value>,
    claims: &Claims,
) -> Option<PublishGrant> {
    let of_claim = listed(own, "publish");
    if rule.is_none() && of_claim.is_none() {
        return None;
    }
    let own_broadcast = own.and_then(|own| own.get("broadcast")) == Some(&Value::Bool(true));
    let templates = rule.map(|rule| &rule.topics);
    let mut types: Vec<_> = rule.map(|rule| rule.types.clone()).unwrap_or_default();
    let of_types = listed(own, "types");
    if own.and_then(|own| own.get("types")).is_some() && of_types.is_none() {
        // Types that cannot be read must not become all types.
        return None;
    }
    // Every granted type applies to every granted topic. So a rule for all types still allows all types, and a claim without types does not
    // widen a rule that lists some.
    if rule.is_none() || !types.is_empty() {
        types.extend(of_types.clone().unwrap_or_default());
    }
    let wanted = types.len();
    let types: Vec<_> =
        types.iter().filter_map(|t| Pattern::new(t).ok()).take(MAX_PATTERNS).collect();
    if wanted > 0 && types.is_empty() {
        return None;
    }
    let source = match rule.and_then(|rule| rule.source.as_ref()) {
        Some(source) => Some(template::text(source, claims)?.into()),
        None => None,
    };
    let broadcast = rule.is_some_and(|rule| rule.broadcast) || own_broadcast;
    Some(PublishGrant {
        topics: Topics::new(topics(templates, of_claim, claims), broadcast),
        types,
        source,
    })
}

/// The patterns of a rule and those of a claim, which are not templates.
fn topics(
    templates: Option<&Vec<String>>,
    own: Option<Vec<String>>,
    claims: &Claims,
) -> Vec<Pattern> {
    let of_rule = templates.into_iter().flatten().flat_map(|t| template::patterns(t, claims));
    let of_claim = own.into_iter().flatten().filter_map(|p| Pattern::new(&p).ok());
    of_rule.chain(of_claim).take(MAX_PATTERNS).collect()
}

/// A list of texts in a claim that grants; `None` if it is anything else.
fn listed(own: Option<&Value>, key: &str) -> Option<Vec<String>> {
    let list = own?.get(key)?.as_array()?;
    list.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "shorter calls")]
    fn of(issuer: Value, claims: Value) -> Grant {
        let mut full = json!({"issuer": "i", "audience": "a", "grantsClaim": "grants"});
        full.as_object_mut().unwrap().extend(issuer.as_object().cloned().unwrap());
        let issuer: TokenIssuer = serde_json::from_value(full).unwrap();
        grant(&issuer, "s", &claims.as_object().cloned().unwrap())
    }

    fn readable(grant: &Grant) -> Option<(Vec<&str>, bool)> {
        grant.subscribe.as_ref().map(Topics::describe)
    }

    #[test]
    fn an_issuer_without_rules_grants_nothing() {
        let none = of(json!({}), json!({"sub": "s"}));
        assert_eq!((none.subscribe, none.publish, none.manage), (None, None, false));
        let useless = of(json!({}), json!({"grants": [1, "x"]}));
        assert_eq!((useless.subscribe, useless.publish), (None, None));
    }

    #[test]
    fn a_claim_adds_topics_to_the_rule() {
        let rule = json!({"subscribe": {"topics": ["user.{sub}"]}});
        let both = of(rule.clone(), json!({"sub": "7", "grants": {"subscribe": ["a.*", "b..c"]}}));
        assert_eq!(readable(&both), Some((vec!["user.7", "a.*"], true)));
        let literal = of(json!({}), json!({"sub": "7", "grants": {"subscribe": ["user.{sub}"]}}));
        assert_eq!(readable(&literal), Some((vec!["user.{sub}"], true)), "it is no template");
        let closed = json!({"subscribe": {"topics": ["a"], "broadcast": false}});
        let closed = of(closed, json!({"grants": {"subscribe": ["b"]}}));
        assert_eq!(readable(&closed), Some((vec!["a", "b"], false)));
        let without = of(rule, json!({}));
        assert_eq!(readable(&without), Some((vec![], true)), "broadcasts alone");
    }

    #[test]
    fn a_claim_does_not_widen_the_types_of_a_rule_and_is_not_guessed() {
        let check = |issuer: &Value, grants: Value, topic: &str, kind: &str| {
            let grant = of(issuer.clone(), json!({"grants": grants}));
            grant.publish.is_some_and(|publish| publish.check(Some(topic), kind).is_ok())
        };
        let rule = json!({"publish": {"topics": ["a"], "types": ["x"]}});
        assert!(check(&rule, json!({"publish": ["b"]}), "b", "x"));
        assert!(!check(&rule, json!({"publish": ["b"]}), "b", "y"));
        assert!(check(&rule, json!({"publish": ["b"], "types": ["y"]}), "b", "y"));
        let no_rule = json!({});
        assert!(check(&no_rule, json!({"publish": ["b"]}), "b", "y"));
        assert!(!check(&no_rule, json!({"publish": ["b"], "types": ["x"]}), "b", "y"));
        for unreadable in [json!("x"), json!([1]), json!(null), json!({}), json!(["x..y"])] {
            assert!(!check(&no_rule, json!({"publish": ["b"], "types": unreadable}), "b", "y"));
        }
        let forced = json!({"publish": {"topics": ["a"], "source": "/users/{sub}"}});
        assert!(!check(&forced, json!({}), "a", "x"), "a source without its claim");
        let silent = of(no_rule, json!({"grants": {"publish": ["b"]}}));
        assert!(silent.publish.unwrap().check(None, "x").is_err(), "broadcasts are not implied");
    }

    #[test]
    fn managing_needs_its_claims_or_the_claim_that_grants() {
        let rule = json!({"manage": {"requiredClaims": {"roles": "admin"}}});
        assert!(of(rule.clone(), json!({"roles": ["user", "admin"]})).manage);
        assert!(!of(rule.clone(), json!({"roles": ["administrator"]})).manage);
        assert!(!of(rule, json!({"grants": {"manage": "true"}})).manage);
        assert!(!of(json!({"manage": {"requiredClaims": {}}}), json!({})).manage);
        assert!(of(json!({}), json!({"grants": {"manage": true}})).manage);
    }

    proptest! {
        /// Whatever a subject is called, it reads its own topic and nobody else's.
        #[test]
        fn a_subject_reads_its_own_topic_alone(sub in ".{0,12}|[*>.%]{1,3}", other in "[a-z]{1,6}") {
            let grant = of(json!({"subscribe": {"topics": ["user.{sub}"]}}), json!({"sub": &sub}));
            let topics = grant.subscribe.unwrap();
            let foreign = format!("user.{other}");
            prop_assert!(sub == other || !topics.cover(Some(&foreign)), "{sub:?} reads {foreign}");
            prop_assert!(!topics.cover(Some("user.a.b")) && !topics.cover(Some("user")));
            prop_assert!(topics.describe().0.len() <= 1);
        }

        /// However long the lists are, a grant is bounded.
        #[test]
        fn a_grant_is_bounded(groups in proptest::collection::vec("[a-z]{1,3}", 0..80)) {
            let rule = json!({"subscribe": {"topics": ["{groups}.{groups}", "t.{groups}"]}});
            let grant = of(rule, json!({"groups": groups, "grants": {"subscribe": groups}}));
            prop_assert!(grant.subscribe.unwrap().describe().0.len() <= MAX_PATTERNS);
        }
    }
}
