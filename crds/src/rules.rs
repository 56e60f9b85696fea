//! CEL rules, which the API server checks besides the types, and those that EventChannel and BrokerPool share. Pure data.
//!
//! The fields that a rule reads must have bounds in the schema: otherwise the API server rejects the CRD for the estimated cost of
//! the rule.

/// A validation rule in the Common Expression Language.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Property of the schema that the rule belongs to: names joined by dots; empty for the object itself.
    pub path: &'static str,
    /// Expression over `self`, and over `oldSelf` for updates.
    pub rule: &'static str,
    /// Error message: what is wrong and what to do.
    pub message: &'static str,
}

pub(crate) const fn rule(path: &'static str, rule: &'static str, message: &'static str) -> Rule {
    Rule { path, rule, message }
}

/// Rules of every custom resource that has brokers: its name, `spec.brokers` and `spec.exposure`.
pub const SHARED: &[Rule] = &[
    rule(
        "",
        "self.metadata.name.size() <= 52",
        "metadata.name must be at most 52 characters: the names of its objects are made from it",
    ),
    rule(
        "",
        "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "metadata.name must be a DNS label that begins with a letter, as names of Services: a-z, 0-9 and -, without dots",
    ),
    rule(
        "spec.brokers",
        "!has(self.autoscaling) || self.replicas == 1",
        "leave brokers.replicas unset (1) while brokers.autoscaling is set: the autoscaler owns the number",
    ),
    rule(
        "spec.brokers.autoscaling",
        "self.maxReplicas >= self.minReplicas",
        "brokers.autoscaling.maxReplicas must be at least minReplicas",
    ),
    rule(
        "spec.brokers.autoscaling",
        "has(self.cpuPercent) || has(self.subscribersPerBroker)",
        "brokers.autoscaling needs subscribersPerBroker, cpuPercent, or both",
    ),
    rule(
        "spec.brokers",
        "!has(self.autoscaling) || !has(self.autoscaling.cpuPercent) || !has(self.resources) || has(self.podTemplate) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits)",
        "brokers.autoscaling.cpuPercent has no effect without a CPU request: set brokers.resources.requests.cpu",
    ),
    rule(
        "spec.exposure.service",
        "!has(self.externalTrafficPolicy) || self.type in ['NodePort', 'LoadBalancer']",
        "exposure.service.externalTrafficPolicy is about traffic from outside: set type to LoadBalancer or NodePort",
    ),
    rule(
        "spec.exposure.service",
        "self.type == 'LoadBalancer' || (!has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges))",
        "exposure.service.loadBalancerClass and loadBalancerSourceRanges need type LoadBalancer",
    ),
    rule(
        "spec.exposure.service",
        "self.type != 'LoadBalancer' || oldSelf.type != 'LoadBalancer' || (has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass))",
        "exposure.service.loadBalancerClass cannot be changed: set another type first, which gives the load balancer up",
    ),
    rule(
        "spec.exposure.service",
        "!has(self.ipFamilies) || self.ipFamilies.size() < 2 || self.ipFamilies[0] != self.ipFamilies[1]",
        "exposure.service.ipFamilies must have each family once",
    ),
    rule(
        "spec.exposure",
        "!self.proxyProtocol || (has(self.trustedProxies) && self.trustedProxies.size() > 0)",
        "exposure.proxyProtocol needs exposure.trustedProxies: set it to the networks of the load balancer",
    ),
    rule(
        "spec.exposure",
        "!has(self.tls) || self.tls.plaintext || (!has(self.ingress) && !has(self.gateway))",
        "exposure.ingress and exposure.gateway reach the brokers by plain HTTP: set exposure.tls.plaintext to true, or remove them",
    ),
    rule(
        "spec.exposure",
        "!has(self.tls) || !has(self.tls.clientCaSecret) || self.tls.clientCaSecret.key.matches('^([-_a-zA-Z0-9]|[.][-_a-zA-Z0-9])[-._a-zA-Z0-9]*$')",
        "exposure.tls.clientCaSecret.key must be the key of a Secret, such as ca.crt: A-Z a-z 0-9 - _ and dots",
    ),
    rule(
        "spec.exposure.ingress.host",
        "self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "exposure.ingress.host must be a DNS name in lower case, without scheme, port or path",
    ),
];
