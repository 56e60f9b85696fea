//! The condition `AccessReady`: whether credentials can be judged. Not a part of `Ready`: clients whose credentials need none of the
//! missing keys are served.

use crate::{
    broker_reports::Problems,
    channel::Channel,
    status::{ConditionState, reasons},
};

/// Reasons, the worst first.
const BY_SEVERITY: [&str; 10] = [
    reasons::SECRET_MISSING,
    reasons::KEYS_INVALID,
    reasons::CERTIFICATE_INVALID,
    reasons::NO_SHARED_STATE,
    reasons::NO_REVIEW_RIGHTS,
    reasons::KEYS_UNREACHABLE,
    reasons::KEYS_STALE,
    reasons::TOKENS_GRANT_NOTHING,
    reasons::CERTIFICATE_EXPIRING,
    reasons::OTHER_PROBLEM,
];

/// What the condition depends on besides the spec.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessFacts<'a> {
    /// What the brokers report. `None` if none has answered yet.
    pub reported: Option<&'a Problems>,
    /// Why brokers have no right to verify tokens of service accounts.
    pub review_failure: Option<&'a str>,
    /// Why the stream of what brokers share is not there.
    pub shared_state: Option<&'a ConditionState>,
}

/// The condition. `None` if it stays as it is, because no broker has answered yet.
#[must_use]
pub fn ready(channel: &Channel, facts: AccessFacts<'_>) -> Option<ConditionState> {
    let AccessFacts { reported, review_failure, shared_state } = facts;
    let access = &channel.spec.access;
    let mut problems: Vec<(&'static str, String)> = Vec::new();
    for problem in reported.into_iter().flatten() {
        problems.push((problem.reason.as_str(), format!("{}: {}", problem.what, problem.detail)));
    }
    if let Some(cause) = review_failure.filter(|_| access.kubernetes.is_some()) {
        let is_reported = problems.iter().any(|(reason, _)| *reason == reasons::NO_REVIEW_RIGHTS);
        if !is_reported {
            problems.push((reasons::NO_REVIEW_RIGHTS, format!("kubernetes: {cause}")));
        }
    }
    if let Some(failure) = shared_state {
        let text = format!("revocations and tickets: {}", failure.message);
        problems.push((reasons::NO_SHARED_STATE, text));
    }
    let idle = access.tokens.iter().filter(|token| {
        token.subscribe.is_none()
            && token.publish.is_none()
            && token.manage.is_none()
            && token.grants_claim.is_none()
    });
    problems.extend(idle.map(|token| {
        let text = format!(
            "issuer {}: its tokens grant nothing: set subscribe, publish, manage or grantsClaim",
            token.issuer
        );
        (reasons::TOKENS_GRANT_NOTHING, text)
    }));
    let rank = |reason: &str| BY_SEVERITY.iter().position(|known| *known == reason);
    problems.sort_by_key(|(reason, _)| rank(reason));
    if let Some((worst, _)) = problems.first() {
        let texts = problems.iter().map(|(reason, text)| {
            if reason == worst { text.clone() } else { format!("{reason}: {text}") }
        });
        return Some(ConditionState {
            is_transient: shared_state.is_some_and(|failure| failure.is_transient),
            ..ConditionState::failed(worst, texts.collect::<Vec<_>>().join("; "))
        });
    }
    let verifies_nothing = access.tokens.is_empty()
        && access.kubernetes.is_none()
        && access.api_keys.is_none()
        && channel.spec.exposure.tls.is_none();
    if verifies_nothing {
        let message = if access.anonymous.is_empty() {
            "the channel is closed: no client may do anything until access names tokens, kubernetes, apiKeys, certificates or anonymous"
        } else {
            "the channel needs no keys"
        };
        return Some(ConditionState::met(reasons::NOTHING_TO_VERIFY, message));
    }
    reported?;
    Some(ConditionState::met(reasons::ACCESS_READY, "the brokers have the keys that they need"))
}

#[cfg(test)]
mod tests {
    use eventcast_crds::broker_status::{AccessProblem, AccessReason};

    use super::*;
    use crate::channel::fixture::channel;

    const KEYS: &str = "tokens: [{issuer: 'https://i', audience: a, jwksUrl: 'https://i/k', subscribe: {topics: []}}]";

    fn problem(what: &str, reason: AccessReason) -> AccessProblem {
        AccessProblem { what: what.into(), reason, detail: "cause".into() }
    }

    fn found(
        access: &str,
        reported: Option<&Problems>,
        failure: Option<&str>,
    ) -> Option<(Option<bool>, String, String)> {
        let (channel, _) = channel(&format!("spec: {{access: {{{access}}}}}"));
        let facts = AccessFacts { reported, review_failure: failure, ..AccessFacts::default() };
        let state = ready(&channel, facts)?;
        Some((state.status, state.reason.to_owned(), state.message))
    }

    #[test]
    fn a_channel_without_keys_is_ready_before_a_broker_answers() {
        for (access, words) in [("", "is closed"), ("anonymous: [Subscribe]", "needs no keys")] {
            let (status, reason, message) = found(access, None, Some("ignored")).unwrap();
            assert_eq!((status, &*reason), (Some(true), reasons::NOTHING_TO_VERIFY));
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn a_channel_with_keys_waits_for_its_brokers() {
        assert_eq!(found(KEYS, None, None), None);
        let (status, reason, _) = found(KEYS, Some(&Problems::new()), None).unwrap();
        assert_eq!((status, &*reason), (Some(true), reasons::ACCESS_READY));
    }

    #[test]
    fn the_worst_problem_gives_the_reason_and_the_message_has_all() {
        let reported = Problems::from([
            problem("certificate", AccessReason::CertificateExpiring),
            problem("issuer https://i", AccessReason::KeysInvalid),
        ]);
        let (status, reason, message) = found(KEYS, Some(&reported), None).unwrap();
        assert_eq!((status, &*reason), (Some(false), reasons::KEYS_INVALID));
        assert_eq!(message, "issuer https://i: cause; CertificateExpiring: certificate: cause");
    }

    #[test]
    fn what_the_operator_knows_by_itself_needs_no_broker() {
        let idle = "tokens: [{issuer: i, audience: a, keySecret: {name: s, key: k}}]";
        let (_, reason, message) = found(idle, None, None).unwrap();
        assert_eq!(reason, reasons::TOKENS_GRANT_NOTHING);
        assert!(message.contains("issuer i"), "{message}");
        let (_, reason, message) = found("kubernetes: {}", None, Some("no binding")).unwrap();
        assert_eq!((&*reason, &*message), (reasons::NO_REVIEW_RIGHTS, "kubernetes: no binding"));
        let twice = Problems::from([problem("kubernetes", AccessReason::NoReviewRights)]);
        let (_, _, message) = found("kubernetes: {}", Some(&twice), Some("no binding")).unwrap();
        assert_eq!(message, "kubernetes: cause", "once is enough");
    }

    #[test]
    fn a_missing_stream_is_reported_and_retried() {
        let (channel, _) = channel("spec: {access: {kubernetes: {}}}");
        let failure = ConditionState::transient(reasons::QUOTA_EXCEEDED, "full");
        let facts = AccessFacts { shared_state: Some(&failure), ..AccessFacts::default() };
        let state = ready(&channel, facts).unwrap();
        assert_eq!((state.reason, state.is_transient), (reasons::NO_SHARED_STATE, true));
        assert_eq!(state.message, "revocations and tickets: full");
    }

    #[test]
    fn every_reason_has_a_rank() {
        for known in AccessReason::ALL {
            assert!(BY_SEVERITY.contains(&known.as_str()), "{known:?}");
        }
    }
}
