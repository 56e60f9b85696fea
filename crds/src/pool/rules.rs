//! CEL rules of the BrokerPool that an EventChannel does not have. Pure data.

use crate::rules::{Rule, rule};

/// The rules.
pub const RULES: &[Rule] = &[
    rule(
        "spec.channels.namespaces",
        "(self.from == 'Selector') == has(self.selector)",
        "channels.namespaces.selector and from: Selector need each other",
    ),
    rule(
        "spec.channels.namespaces",
        "!has(self.selector) || !has(self.selector.matchExpressions) || self.selector.matchExpressions.all(e, (e.operator in ['In', 'NotIn']) == (has(e.values) && e.values.size() > 0))",
        "channels.namespaces.selector.matchExpressions: In and NotIn need values, and Exists and DoesNotExist have none",
    ),
];
