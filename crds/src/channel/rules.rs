//! CEL rules of the EventChannel that a BrokerPool does not have. Pure data.

use crate::rules::{Rule, rule};

/// The rules.
pub const RULES: &[Rule] = &[
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
        "!('Manage' in self.anonymous)",
        "access.anonymous: Manage always needs a credential: remove it",
    ),
    rule(
        "spec.access",
        "!has(self.anonymousTopics) || self.anonymousTopics.all(t, t.matches('^([^.[:cntrl:]]+[.]){0,15}[^.[:cntrl:]]+$') && !t.matches('(^|[.])>[.]'))",
        "access.anonymousTopics must be up to 16 segments joined by dots, such as news.sport, news.* or news.>, with > only as the last one",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, [has(t.jwksUrl), has(t.keySecret), has(t.jwks)].exists_one(x, x))",
        "access.tokens: set exactly one of jwksUrl, keySecret and jwks",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, !has(t.jwks) || t.jwks.keys.all(k, !has(k.d) && !has(k.k)))",
        "access.tokens.jwks must have public keys alone, because an EventChannel is no secret: remove private and symmetric keys, and replace them if others could read them",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, !has(t.jwksUrl) || (t.jwksUrl.matches('^[!-~]+$') && t.jwksUrl.matches('^(https://([^@/?#{}:[]|[[])[^@/?#{}]*|http://(localhost|127[.]0[.]0[.]1|[[]::1[]])(:[0-9]{1,5})?)([/?][^#{}]*)?$')))",
        "access.tokens.jwksUrl must be https://host/path without user, password and fragment; http only for localhost, 127.0.0.1 or [::1]",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, !has(t.caSecret) || has(t.jwksUrl))",
        "access.tokens.caSecret has the certificate authorities of jwksUrl: remove it, or set jwksUrl",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, (!has(t.keySecret) || t.keySecret.key.matches('^([-_a-zA-Z0-9]|[.][-_a-zA-Z0-9])[-._a-zA-Z0-9]*$')) && (!has(t.caSecret) || t.caSecret.key.matches('^([-_a-zA-Z0-9]|[.][-_a-zA-Z0-9])[-._a-zA-Z0-9]*$')))",
        "access.tokens: the key of keySecret and caSecret must be the key of a Secret, such as jwks.json: A-Z a-z 0-9 - _ and dots",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, self.tokens.exists_one(u, u.issuer == t.issuer && u.audience == t.audience))",
        "access.tokens: two entries have the same issuer and audience: merge them",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, (!has(t.subscribe) || t.subscribe.topics.all(p, p.matches('^(([{][^{}]+[}]|[^.{}[:cntrl:]]+)[.]){0,15}([{][^{}]+[}]|[^.{}[:cntrl:]]+)$') && !p.matches('(^|[.])>[.]'))) && (!has(t.publish) || t.publish.topics.all(p, p.matches('^(([{][^{}]+[}]|[^.{}[:cntrl:]]+)[.]){0,15}([{][^{}]+[}]|[^.{}[:cntrl:]]+)$') && !p.matches('(^|[.])>[.]'))))",
        "access.tokens: topics must be patterns in which a claim in braces is a whole segment, such as user.{sub}, orders.* or team.{groups}.>",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, !has(t.publish) || !has(t.publish.types) || t.publish.types.all(p, p.matches('^([^.[:cntrl:]]+[.]){0,15}[^.[:cntrl:]]+$') && !p.matches('(^|[.])>[.]')))",
        "access.tokens.publish.types must be segments joined by dots, such as order.paid, order.* or order.>, with > only as the last one",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, !has(t.manage) || t.manage.requiredClaims.size() > 0)",
        "access.tokens.manage.requiredClaims must have at least one claim: otherwise every user of the issuer could disconnect others",
    ),
    rule(
        "spec.access",
        "self.tokens.all(t, !has(t.quota) || (has(self.quotas) && self.quotas.exists(q, q.name == t.quota)))",
        "access.tokens.quota must be the name of one of access.quotas",
    ),
    rule(
        "spec",
        "!has(self.access) || !has(self.access.certificates) || self.access.certificates.size() == 0 || (has(self.brokers) && has(self.brokers.pool)) || (has(self.exposure) && has(self.exposure.tls) && has(self.exposure.tls.clientCaSecret))",
        "access.certificates needs the certificate authorities of clients: set exposure.tls.clientCaSecret",
    ),
    rule(
        "spec.access",
        "!has(self.certificates) || self.certificates.all(c, !has(c.names) || c.names.all(n, n.matches('^([*]|[-_a-z0-9]+)([.]([*]|[-_a-z0-9]+))*$') || (n.contains(':') && n.matches('^([*]|[!-)+-.0-~]*)(/([*]|[!-)+-.0-~]*))*$'))))",
        "access.certificates.names must be URIs, such as spiffe://example.org/ns/*/sa/orders, or DNS names in lower case, such as *.devices.example.com; a star stands for one segment or label",
    ),
    rule(
        "spec.access",
        "!has(self.certificates) || self.certificates.all(c, (!has(c.subscribe) || c.subscribe.topics.all(p, p.matches('^(([{]name[}]|[^.{}[:cntrl:]]+)[.]){0,15}([{]name[}]|[^.{}[:cntrl:]]+)$') && !p.matches('(^|[.])>[.]'))) && (!has(c.publish) || c.publish.topics.all(p, p.matches('^(([{]name[}]|[^.{}[:cntrl:]]+)[.]){0,15}([{]name[}]|[^.{}[:cntrl:]]+)$') && !p.matches('(^|[.])>[.]'))))",
        "access.certificates: topics must be patterns in which {name} is a whole segment, such as device.{name} or orders.*",
    ),
    rule(
        "spec.access",
        "!has(self.certificates) || self.certificates.all(c, !has(c.publish) || !has(c.publish.types) || c.publish.types.all(p, p.matches('^([^.[:cntrl:]]+[.]){0,15}[^.[:cntrl:]]+$') && !p.matches('(^|[.])>[.]')))",
        "access.certificates.publish.types must be segments joined by dots, such as order.paid, order.* or order.>, with > only as the last one",
    ),
    rule(
        "spec.access",
        "!has(self.certificates) || self.certificates.all(c, !c.manage || (has(c.names) && c.names.size() > 0))",
        "access.certificates.manage needs names: otherwise every client with a certificate could disconnect others",
    ),
    rule(
        "spec.access",
        "!has(self.certificates) || self.certificates.all(c, !has(c.quota) || (has(self.quotas) && self.quotas.exists(q, q.name == c.quota)))",
        "access.certificates.quota must be the name of one of access.quotas",
    ),
    rule(
        "spec.access",
        "!has(self.kubernetes) || !has(self.kubernetes.quota) || (has(self.quotas) && self.quotas.exists(q, q.name == self.kubernetes.quota))",
        "access.kubernetes.quota must be the name of one of access.quotas",
    ),
    rule(
        "spec.access",
        "!has(self.quotas) || self.quotas.all(q, q.name != '' && self.quotas.exists_one(r, r.name == q.name))",
        "access.quotas must have different names, which are not empty",
    ),
    rule(
        "spec.access",
        "!has(self.tickets) || self.tickets.maxSeconds == 0 || self.tickets.maxSeconds >= 30",
        "access.tickets.maxSeconds must be from 30 to 3600, or 0 for no tickets",
    ),
    rule(
        "spec.access",
        "!has(self.cookie) || self.cookie.name.matches('^[-!#$%&*+.^_`|~0-9A-Za-z]+$')",
        "access.cookie.name must be the name of a cookie, such as __Host-eventcast",
    ),
    rule(
        "spec.brokers",
        "!has(self.pool) || (self.replicas == 1 && !has(self.autoscaling) && !has(self.image) && !has(self.resources) && !has(self.drainSeconds) && !has(self.nodeSelector) && !has(self.tolerations) && !has(self.topologySpreadConstraints) && !has(self.priorityClassName) && !has(self.podTemplate))",
        "with brokers.pool the brokers are those of the BrokerPool: remove the other fields of brokers, and set them there",
    ),
    rule(
        "spec",
        "!has(self.brokers) || !has(self.brokers.pool) || !has(self.exposure) || (!has(self.exposure.tls) && !self.exposure.proxyProtocol && !has(self.exposure.trustedProxies) && (!has(self.exposure.service) || self.exposure.service.type == 'ClusterIP'))",
        "with brokers.pool the listeners are those of the BrokerPool: remove exposure.tls, proxyProtocol, trustedProxies and service.type, and set them there",
    ),
];
