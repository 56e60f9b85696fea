//! CEL rules of the EventChannel, which the API server checks besides the types. Pure data.
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

const fn rule(path: &'static str, rule: &'static str, message: &'static str) -> Rule {
    Rule { path, rule, message }
}

/// All rules.
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
        "spec.retention",
        "self.storage == oldSelf.storage",
        "retention.storage cannot be changed: JetStream cannot move a stream. Create another channel",
    ),
    rule("spec.retention", "self.replicas in [1, 3, 5]", "retention.replicas must be 1, 3 or 5"),
    rule(
        "spec.retention",
        "self.maxAgeSeconds == 0 || self.duplicateWindowSeconds <= self.maxAgeSeconds",
        "retention.duplicateWindowSeconds must not be longer than retention.maxAgeSeconds",
    ),
    rule(
        "spec.stream",
        "has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)",
        "stream.name cannot be changed: subscribers would lose the events of the old stream. Create another channel",
    ),
    rule(
        "spec.stream",
        "has(self.subjectPrefix) == has(oldSelf.subjectPrefix) && (!has(self.subjectPrefix) || self.subjectPrefix == oldSelf.subjectPrefix)",
        "stream.subjectPrefix cannot be changed: events stored under the old one could not be read. Create another channel",
    ),
    rule(
        "spec.stream.name",
        "self.matches('^[!-~]+$') && !self.contains('.') && !self.contains('*') && !self.contains('>') && !self.contains('/') && !self.contains('\\\\')",
        "stream.name must be visible ASCII characters without . * > / and \\",
    ),
    rule(
        "spec.stream.subjectPrefix",
        "self.matches('^[A-Za-z0-9-][A-Za-z0-9_-]*([.][A-Za-z0-9_-]+)*$')",
        "stream.subjectPrefix must be tokens of A-Z a-z 0-9 - _ joined by dots, not beginning with _",
    ),
    rule(
        "spec.delivery.from",
        "self.matches('^(latest|earliest|last:([1-9][0-9]{0,2}|1000)|-[0-9]{1,9}[smhd])$')",
        "delivery.from must be latest, earliest, last:N with N from 1 to 1000, or an age such as -10m",
    ),
    rule(
        "spec.publishing",
        "self.types.all(t, t.matches('^[^.]+([.][^.]+)*$'))",
        "publishing.types must be segments joined by dots, such as order.paid, order.* or order.>",
    ),
    rule(
        "spec.access",
        "!(self.allowCredentials && '*' in self.allowedOrigins)",
        "access.allowedOrigins: * with allowCredentials would let every web page act as its user: list the origins",
    ),
    rule(
        "spec.access",
        "self.allowedOrigins.all(o, o == '*' || o.matches('^https?://([*]([.][-a-z0-9_]+)+[.][a-z][-a-z0-9_]*|[-a-z0-9_]+([.][-a-z0-9_]+)*|[[][0-9a-f:.]+[]])(:[0-9]{1,5})?$'))",
        "access.allowedOrigins must be scheme://host[:port] in lower case without a path, such as https://app.example.com; https://*.example.com for all subdomains; or *",
    ),
    rule(
        "spec.access",
        "self.allowedHeaders.all(h, h.matches('^[-A-Za-z0-9_]+$'))",
        "access.allowedHeaders must be names of headers, such as X-Tenant",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, has(t.jwksUrl) != has(t.keySecret))",
        "access.tokens: set exactly one of jwksUrl and keySecret",
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
        "brokers.autoscaling needs cpuPercent (with metrics-server), subscribersPerBroker (with a metrics adapter), or both",
    ),
    rule(
        "spec.brokers",
        "!has(self.autoscaling) || !has(self.autoscaling.cpuPercent) || !has(self.resources) || has(self.podTemplate) || (has(self.resources.requests) && 'cpu' in self.resources.requests) || (has(self.resources.limits) && 'cpu' in self.resources.limits)",
        "brokers.autoscaling.cpuPercent has no effect without a CPU request: set brokers.resources.requests.cpu",
    ),
    rule(
        "spec.exposure",
        "!self.proxyProtocol || (has(self.trustedProxies) && self.trustedProxies.size() > 0)",
        "exposure.proxyProtocol needs exposure.trustedProxies: set it to the networks of the load balancer",
    ),
    rule(
        "spec.exposure.ingress.host",
        "self.matches('^([*][.])?[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "exposure.ingress.host must be a DNS name in lower case, without scheme, port or path",
    ),
];
