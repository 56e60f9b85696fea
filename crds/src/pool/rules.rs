//! CEL rules of the BrokerPool, which the API server checks besides the types. Pure data.

use crate::channel::rules::{Rule, rule};

/// The rules that a pool does not share with channels.
pub const RULES: &[Rule] = &[
    rule(
        "",
        "self.metadata.name.size() <= 52",
        "metadata.name must be at most 52 characters: the names of its objects are made from it",
    ),
    rule(
        "",
        "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be a DNS label: a-z, 0-9 and -, without dots",
    ),
    rule(
        "spec.channels.namespaces",
        "(self.from == 'Selector') == has(self.selector)",
        "channels.namespaces.selector and from: Selector need each other",
    ),
];
