//! From the claims of a verified credential to a grant, by the rules of its issuer. Pure.

use std::{collections::BTreeMap, sync::Arc};

use eventcast_crds::config::{PublishRule, SubscribeRule, TokenIssuer};
use eventcast_wire::{grants::Topics, topic::Pattern};
use serde_json::Value;

use super::{
    grant::{Grant, PublishGrant, Way},
    template::{self, Claims},
};
use crate::identity::Identity;

/// Patterns that one kind of grant may have.
const MAX_PATTERNS: usize = 32;

/// The grant of a token with `claims`, which were verified, for `subject`. Topics beyond the most that a grant may have are dropped.
pub(super) fn grant(issuer: &TokenIssuer, subject: &str, claims: &Claims) -> Grant {
    let own = issuer.grants_claim.as_ref().and_then(|claim| claims.get(claim));
    Grant {
        way: Way::Token,
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

fn subscribe(rule: Option<&SubscribeRule>, own: Option<&Value>, claims: &Claims) -> Option<Topics> {
    let of_claim = listed(own, "subscribe");
    let broadcast = rule.is_some_and(|rule| rule.broadcast) || of_claim.is_some();
    let templates = rule.map(|rule| &rule.topics);
    (rule.is_some() || of_claim.is_some())
        .then(|| Topics::new(topics(templates, of_claim, claims), broadcast))
}

fn publish(
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
    // Topics and types are one rectangle: a rule for all types stays one, and a claim without types does not widen a rule with some.
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

/// A list of texts in a claim that grants.
fn listed(own: Option<&Value>, key: &str) -> Option<Vec<String>> {
    let list = own?.get(key)?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
