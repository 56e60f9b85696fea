//! Validates the values of a configuration. Reports all problems at once, so that they can be fixed in one go.

mod access;
mod probe;
mod telemetry;

use std::{collections::HashSet, fmt};

use super::{Authority, BrokerConfig, ChannelConfig, Memory, ProxyProtocol, Tls, valid_label};

/// Minimum size of the tail of one channel.
const MIN_TAIL_BYTES: usize = 64 << 10;

/// An invalid value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Path of the key, such as `channels[0].delivery.heartbeatSeconds`.
    pub path: String,
    /// What is wrong, and which values are valid.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn check(&mut self, path: impl Into<String>, is_valid: bool, message: impl Into<String>) {
        if !is_valid {
            self.0.push(ConfigProblem { path: path.into(), message: message.into() });
        }
    }

    fn range(&mut self, path: impl Into<String>, value: u64, low: u64, high: u64) {
        self.check(
            path,
            (low..=high).contains(&value),
            format!("{value} is not in {low}..={high}"),
        );
    }
}

impl BrokerConfig {
    /// All invalid values; empty if the configuration is valid.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut p = Problems(Vec::new());
        let n = &self.nats;
        p.check("nats.servers", !n.servers.is_empty(), "must have at least one server");
        let methods = [&n.token_file, &n.credentials_file].iter().filter(|w| w.is_some()).count()
            + usize::from(n.user.is_some());
        p.check("nats", methods <= 1, "set at most one of user, tokenFile and credentialsFile");
        p.check(
            "nats.passwordFile",
            n.user.is_some() == n.password_file.is_some(),
            "set both user and passwordFile, or neither",
        );
        p.check(
            "nats.certificateFile",
            n.certificate_file.is_some() == n.key_file.is_some(),
            "set both certificateFile and keyFile, or neither",
        );
        let is_token =
            |text: &str| !text.is_empty() && !text.contains(['.', '*', '>', ' ', '\t', '\r', '\n']);
        p.check(
            "nats.domain",
            n.domain.as_deref().is_none_or(is_token),
            "must be a name without dots, wildcards and spaces, such as hub",
        );
        p.check(
            "nats.inboxPrefix",
            n.inbox_prefix.as_deref().is_none_or(|prefix| prefix.split('.').all(is_token)),
            "must be tokens joined by dots, without wildcards and spaces, such as _INBOX_shop",
        );
        self.telemetry.problems(&mut p);
        p.range("nats.ackMilliseconds", n.ack_milliseconds, 100, 10_000);
        p.range("fanout.shards", self.fanout.shards.unwrap_or(1) as u64, 0, 256);
        self.memory.problems(self.channels.len(), &mut p);
        let l = &self.limits;
        p.check(
            "limits.connections",
            l.connections > 1,
            "must be at least 2: one for a stream, one for requests",
        );
        p.check("limits.subscribers", l.subscribers > 0, "must be at least 1");
        p.check(
            "limits.subscribersPerAddress",
            l.subscribers_per_address > 0,
            "must be at least 1",
        );
        for (i, host) in l.allowed_hosts.iter().enumerate() {
            p.check(
                format!("limits.allowedHosts[{i}]"),
                Authority::parse(&host.to_ascii_lowercase()).is_some_and(|host| !host.has_port()),
                "must be a host without port, such as app.example.com or [::1]",
            );
        }
        p.range("limits.publishesInFlight", l.publishes_in_flight as u64, 1, 65_536);
        p.range("limits.bodyBytes", l.body_bytes as u64, 64 << 10, 1 << 40);
        p.range("limits.bodyBytesPerAddress", l.body_bytes_per_address as u64, 64 << 10, 1 << 40);
        p.range("limits.headBytes", l.head_bytes as u64, 4 << 10, 256 << 10);
        p.range("limits.idleSeconds", l.idle_seconds, 1, 3600);
        p.check(
            "limits.proxyProtocol",
            l.proxy_protocol == ProxyProtocol::Off || !l.trusted_proxies.is_empty(),
            "required needs the networks of the proxies in limits.trustedProxies",
        );
        let b = &self.balancing;
        p.range("balancing.shedPerSecond", b.shed_per_second.into(), 1, 10_000);
        p.range("balancing.minStreamSeconds", b.min_stream_seconds, 0, 3600);
        p.range("query.scanEvents", self.query.scan_events as u64, 256, 1_000_000);
        p.range("query.scanBytes", self.query.scan_bytes as u64, 64 << 10, 1 << 30);
        p.range("query.concurrent", self.query.concurrent as u64, 1, 1024);
        p.range("query.answerBytes", self.query.answer_bytes as u64, 64 << 10, 1 << 40);
        let s = &self.shutdown;
        p.check(
            "shutdown.graceSeconds",
            s.grace_seconds >= s.delay_seconds + s.drain_seconds,
            "must be at least delaySeconds + drainSeconds",
        );
        if let Some(tls) = &self.tls {
            tls.problems(&mut p);
        }
        let knows_clients = self.knows_clients();
        p.check(
            "channels",
            !self.channels.is_empty() || self.channels_folder.is_some(),
            "must have at least one channel, or set channelsFolder",
        );
        p.check(
            "channelsFolder",
            self.channels_folder.as_ref().is_none_or(|folder| !folder.as_os_str().is_empty()),
            "must not be empty: leave it out if there is none",
        );
        let (mut names, mut streams) = (HashSet::new(), HashSet::new());
        for (i, c) in self.channels.iter().enumerate() {
            let path = format!("channels[{i}]");
            c.problems(&path, knows_clients, &mut p);
            p.check(&path, names.insert(c.key()), format!("{} is listed twice", c.key()));
            let stream = c.stream_name();
            p.check(
                format!("{path}.stream"),
                streams.insert(stream.clone()),
                format!("{stream} is the stream of another channel"),
            );
        }
        p.0
    }

    /// Whether the certificates of clients can be verified.
    #[must_use]
    pub fn knows_clients(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some())
    }
}

impl Memory {
    fn problems(&self, channels: usize, p: &mut Problems) {
        p.range("memory.tailEvents", self.tail_events as u64, 16, 1_000_000);
        p.range("memory.tailBytes", self.tail_bytes as u64, MIN_TAIL_BYTES as u64, 16 << 30);
        p.range("memory.allTailBytes", self.all_tail_bytes as u64, MIN_TAIL_BYTES as u64, 1 << 40);
        p.range("memory.pageBytes", self.page_bytes, 1 << 20, 64 << 30);
        p.range("memory.channelPageBytes", self.channel_page_bytes, 1 << 20, 64 << 30);
        p.range("memory.parkAfterSeconds", self.park_after_seconds.unwrap_or(0), 0, 86_400);
        let (all, wanted) = (self.all_tail_bytes, MIN_TAIL_BYTES.saturating_mul(channels));
        p.check(
            "memory.allTailBytes",
            all < MIN_TAIL_BYTES || all >= wanted,
            format!("{all} is too little for {channels} channels: must be at least {wanted}"),
        );
    }
}

impl Tls {
    fn problems(&self, p: &mut Problems) {
        for (key, file) in
            [("tls.certificateFile", &self.certificate_file), ("tls.keyFile", &self.key_file)]
        {
            p.check(key, !file.as_os_str().is_empty(), "must be set");
        }
        let authorities = self.client_ca_file.as_ref();
        p.check(
            "tls.clientCaFile",
            authorities.is_none_or(|file| !file.as_os_str().is_empty()),
            "must not be empty: leave it out if clients have no certificates",
        );
        p.check("tls.alpn", !self.alpn.is_empty(), "must have at least one of h2 and http/1.1");
    }
}

impl ChannelConfig {
    /// All invalid values, with paths that begin below the channel; empty if it is valid by itself.
    pub(super) fn own_problems(&self, knows_clients: bool) -> Vec<ConfigProblem> {
        let mut p = Problems(Vec::new());
        self.problems("", knows_clients, &mut p);
        p.0
    }

    fn problems(&self, path: &str, knows_clients: bool, p: &mut Problems) {
        let at = |key: &str| if path.is_empty() { key.into() } else { format!("{path}.{key}") };
        let label = "must be a DNS label: a-z, 0-9 and -, at most 63";
        p.check(at("namespace"), valid_label(&self.namespace), label);
        p.check(at("name"), valid_label(&self.name), label);
        let stream = self.stream_name();
        p.check(
            at("stream"),
            (1..=255).contains(&stream.len())
                && stream.bytes().all(|b| b.is_ascii_graphic() && !b".*>/\\".contains(&b)),
            "must be 1 to 255 visible ASCII characters without . * > / \\",
        );
        let prefix = self.prefix();
        p.check(
            at("subjectPrefix"),
            prefix.len() <= 200
                && !prefix.starts_with('$')
                && !prefix.starts_with('_')
                && prefix.split('.').all(|t| {
                    !t.is_empty()
                        && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                }),
            "must be tokens of A-Z a-z 0-9 - _ joined by dots, at most 200, not under $ or _",
        );
        let r = &self.retention;
        p.range(at("retention.maxBytes"), r.max_bytes, 64 << 10, 1 << 50);
        p.check(at("retention.replicas"), [1, 3, 5].contains(&r.replicas), "must be 1, 3 or 5");
        let window = if r.max_age_seconds == 0 { 3600 } else { r.max_age_seconds.min(3600) };
        p.range(at("retention.duplicateWindowSeconds"), r.duplicate_window_seconds, 1, window);
        let d = &self.delivery;
        p.check(
            at("delivery.from"),
            is_start_position(&d.from),
            "must be latest, earliest, last:N with N from 1 to 1000, or -<duration> such as -10m",
        );
        p.range(at("delivery.heartbeatSeconds"), d.heartbeat_seconds, 1, 300);
        p.range(at("delivery.retryMilliseconds"), d.retry_milliseconds, 1000, 3_600_000);
        p.range(at("delivery.stallSeconds"), d.stall_seconds, 1, 600);
        p.range(at("delivery.maxAgeSeconds"), d.max_age_seconds, 0, 7 * 86_400);
        let u = &self.publishing;
        p.range(at("publishing.maxEventBytes"), u.max_event_bytes as u64, 1, 8 << 20);
        p.range(at("publishing.maxBatchEvents"), u.max_batch_events as u64, 1, 10_000);
        p.range(at("publishing.maxBatchBytes"), u.max_batch_bytes as u64, 1, 64 << 20);
        p.range(at("publishing.deadlineSeconds"), u.deadline_seconds, 1, 60);
        p.range(at("publishing.maxEventsPerSecond"), u.max_events_per_second.into(), 0, 1_000_000);
        for (i, pattern) in u.types.iter().enumerate() {
            p.check(
                at(&format!("publishing.types[{i}]")),
                is_pattern(pattern),
                "must be up to 16 segments joined by dots, such as order.paid, order.* or order.>, with > only as the last one",
            );
        }
        p.check(
            at("access.certificates"),
            knows_clients || self.access.certificates.is_empty(),
            "needs the certificate authorities of clients: set tls.clientCaFile",
        );
        self.access.problems(&at("access"), p);
        if let Some(probe) = &self.probe {
            probe.problems(&at("probe"), p);
        }
    }
}

/// Whether `s` is a default start position: no cursor and no absolute time, which would soon be outdated.
fn is_start_position(s: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.len() <= 9 && s.bytes().all(|b| b.is_ascii_digit());
    let last = |n: &str| digits(n) && n.parse().is_ok_and(|n: usize| (1..=1000).contains(&n));
    let ago = |t: &str| t.strip_suffix(['s', 'm', 'h', 'd']).is_some_and(digits);
    matches!(s, "latest" | "earliest")
        || s.strip_prefix("last:").is_some_and(last)
        || s.strip_prefix('-').is_some_and(ago)
}

/// Whether `s` is a pattern of types or topics: up to 16 segments joined by dots, where `*` matches one segment and a last `>` the rest. The broker
/// parses patterns by the same rules; a pattern that it cannot parse would never match.
fn is_pattern(s: &str) -> bool {
    let segments = || s.split('.');
    s.len() <= 256
        && segments().count() <= 16
        && !segments().any(str::is_empty)
        && !s.chars().any(char::is_control)
        && segments().rev().skip(1).all(|segment| segment != ">")
}

#[cfg(test)]
mod tests {
    use super::super::load::load;

    fn problems(yaml: &str) -> Vec<String> {
        load(yaml, &[]).unwrap().config.problems().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(problems("channels: [{namespace: default, name: demo}]"), Vec::<String>::new());
    }

    #[test]
    fn the_total_of_the_tails_must_fit_all_channels() {
        let three =
            "channels: [{namespace: a, name: b}, {namespace: a, name: c}, {namespace: a, name: d}]";
        let with = |bytes: usize| problems(&format!("{three}\nmemory: {{allTailBytes: {bytes}}}"));
        assert_eq!(with(3 << 16), Vec::<String>::new());
        assert_eq!(
            with((3 << 16) - 1),
            ["memory.allTailBytes: 196607 is too little for 3 channels: must be at least 196608"]
        );
        assert_eq!(with(1), ["memory.allTailBytes: 1 is not in 65536..=1099511627776"]);
        let found = problems(&format!("{three}\nmemory: {{channelPageBytes: 7}}"));
        assert_eq!(found, ["memory.channelPageBytes: 7 is not in 1048576..=68719476736"]);
        let few_pages = format!("{three}\nmemory: {{pageBytes: 2000000}}");
        assert_eq!(problems(&few_pages), Vec::<String>::new(), "channelPageBytes is limited by it");
    }

    #[test]
    fn certificates_need_authorities_and_classes_must_be_known() {
        let with = |access: &str, tls: &str| {
            problems(&format!("channels: [{{namespace: a, name: b, access: {{{access}}}}}]\n{tls}"))
        };
        let tls = "tls: {certificateFile: c, keyFile: k, clientCaFile: ca}";
        let rule = "certificates: [{names: ['*.example.com', 'spiffe://a/*'], manage: true, quota: few, \
                    subscribe: {topics: ['device.{name}']}, publish: {topics: [a], source: '/x/{name}'}}]";
        let good = format!("{rule}, kubernetes: {{quota: few}}, quotas: [{{name: few}}]");
        assert_eq!(with(&good, tls), Vec::<String>::new());
        for tls in ["", "tls: {certificateFile: c, keyFile: k}"] {
            let found = with(&good, tls);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("channels[0].access.certificates: "), "{found:?}");
        }
        for (access, path) in [
            (rule, "certificates[0].quota"),
            ("kubernetes: {quota: few}", "kubernetes.quota"),
            ("certificates: [{names: ['A.example']}]", "certificates[0].names[0]"),
            ("certificates: [{manage: true}]", "certificates[0].manage"),
            (
                "certificates: [{subscribe: {topics: ['x{name}']}}]",
                "certificates[0].subscribe.topics[0]",
            ),
            ("certificates: [{subscribe: {topics: ['x.{sub}']}}]", "certificates[0]"),
            ("certificates: [{publish: {topics: [a], source: '{sub}'}}]", "certificates[0]"),
            (
                "certificates: [{publish: {topics: [a], types: ['a.']}}]",
                "certificates[0].publish.types[0]",
            ),
        ] {
            let found = with(access, tls);
            assert_eq!(found.len(), 1, "{access}: {found:?}");
            assert!(found[0].starts_with(&format!("channels[0].access.{path}: ")), "{found:?}");
        }
        assert!(
            with("", "tls: {certificateFile: c, keyFile: k, clientCaFile: ''}")[0]
                .starts_with("tls.clientCaFile: ")
        );
    }

    #[test]
    fn all_problems_are_reported_with_their_paths() {
        let found = problems(
            "shutdown: {graceSeconds: 1}
limits: {allowedHosts: [App.example.com, '[::1]', 'a.example:80']}
channels:
- {namespace: Default, name: demo}
- namespace: a
  name: b
  delivery: {heartbeatSeconds: 0, retryMilliseconds: 0, from: 'last:0'}
  publishing: {types: ['order.', 'order.>', '>.paid']}
  access: {allowedOrigins: ['*', 'null', 'https://a.example/path', 'https://*.com'],
           allowedHeaders: [X-Tenant, 'X Tenant'], allowCredentials: true}
- {namespace: a, name: b}",
        );
        for path in [
            "shutdown.graceSeconds: ",
            "limits.allowedHosts[2]: ",
            "channels[0].namespace: ",
            "channels[1].delivery.heartbeatSeconds: 0 is not in 1..=300",
            "channels[1].delivery.retryMilliseconds: ",
            "channels[1].delivery.from: ",
            "channels[1].publishing.types[0]: ",
            "channels[1].publishing.types[2]: ",
            "channels[1].access.allowCredentials: ",
            "channels[1].access.allowedOrigins[1]: ",
            "channels[1].access.allowedOrigins[2]: ",
            "channels[1].access.allowedOrigins[3]: ",
            "channels[1].access.allowedHeaders[1]: ",
            "channels[2]: a/b is listed twice",
        ] {
            assert!(found.iter().any(|f| f.starts_with(path)), "{path} not in {found:#?}");
        }
    }
}
