//! Advice about proxies that hinder streams: which setting of which proxy to change. For the delivery probe of brokers and for the command
//! line. Pure.

use eventcast_crds::broker_status::DeliveryReason;
use http::{HeaderMap, header};

/// A kind of proxy, with its own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// nginx, and what is built on it.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Envoy, and what is built on it.
    Envoy,
    /// Traefik.
    Traefik,
    /// Cloudflare.
    Cloudflare,
    /// Amazon CloudFront.
    CloudFront,
    /// An application load balancer of AWS.
    Aws,
    /// A load balancer of Google Cloud.
    Google,
    /// None of these, or it cannot be identified.
    Unknown,
}

/// Texts in the names of IngressClasses and products, and in the headers `Server` and `Via`, that identify a proxy.
const NAMES: [(&str, Proxy); 14] = [
    ("cloudflare", Proxy::Cloudflare),
    ("cloudfront", Proxy::CloudFront),
    ("nginx", Proxy::Nginx),
    ("openresty", Proxy::Nginx),
    ("kong", Proxy::Nginx),
    ("haproxy", Proxy::Haproxy),
    ("openshift", Proxy::Haproxy),
    ("traefik", Proxy::Traefik),
    ("envoy", Proxy::Envoy),
    ("istio", Proxy::Envoy),
    ("contour", Proxy::Envoy),
    ("alb", Proxy::Aws),
    ("google", Proxy::Google),
    ("gce", Proxy::Google),
];

impl Proxy {
    /// The outermost proxy that the headers of a response identify, else the one that `hint` names.
    #[must_use]
    pub fn of(headers: &HeaderMap, hint: Option<&str>) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if headers.contains_key("cf-ray") {
            return Self::Cloudflare;
        }
        if headers.contains_key("x-amz-cf-id") {
            return Self::CloudFront;
        }
        let texts = [text(header::SERVER), text(header::VIA), hint].into_iter().flatten();
        let named = texts.map(Self::named).find(|proxy| *proxy != Self::Unknown);
        named.unwrap_or_else(|| {
            let is_envoy = headers.contains_key("x-envoy-upstream-service-time");
            if is_envoy { Self::Envoy } else { Self::Unknown }
        })
    }

    fn named(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let found = NAMES.iter().find(|(name, _)| text.contains(name));
        found.map_or(Self::Unknown, |(_, proxy)| *proxy)
    }
}

/// What to do about a problem with `proxy`.
#[must_use]
pub fn advice(reason: DeliveryReason, proxy: Proxy) -> &'static str {
    use DeliveryReason as R;
    use Proxy as P;
    match (reason, proxy) {
        (R::Unreachable, _) => {
            "check the DNS record, the load balancer, and that brokers may connect to it (NetworkPolicy). If only clients outside can reach it, \
             set exposure.probe.enabled to false"
        }
        (R::CertificateInvalid, _) => "renew it, or add the host name to it",
        (R::UnexpectedAnswer, _) => {
            "requests must reach the brokers with their path and query, without a login page or redirect in front"
        }
        (R::Buffered, P::Nginx) => {
            "nginx buffers responses: set proxy_buffering off (annotation nginx.ingress.kubernetes.io/proxy-buffering: \"off\"), and remove \
             proxy_ignore_headers X-Accel-Buffering"
        }
        (R::Buffered, P::Haproxy) => {
            "HAProxy waits for whole responses: remove rules with http-response wait-for-body, and filters that read bodies"
        }
        (R::Buffered, P::Envoy) => {
            "Envoy holds responses back: remove filters that buffer bodies (buffer, Wasm, ext_proc) from this route"
        }
        (R::Buffered, P::Traefik) => {
            "Traefik holds responses back: remove the Buffering middleware from this route"
        }
        (R::Buffered, P::Cloudflare) => {
            "Cloudflare holds responses back: add a cache rule that bypasses the cache for this path"
        }
        (R::Buffered, P::CloudFront) => {
            "CloudFront holds responses back: use a cache behaviour without caching and compression for this path"
        }
        (R::Buffered, _) => {
            "a proxy buffers responses: turn its response buffering off for this path (nginx: proxy_buffering off and no proxy_ignore_headers \
             X-Accel-Buffering; Traefik: no Buffering middleware), and exempt it from caches, virus scanners and body filters"
        }
        (R::Compressed, P::Nginx) => {
            "remove text/event-stream from gzip_types and brotli_types of nginx"
        }
        (R::Compressed, P::Haproxy) => {
            "remove text/event-stream from `compression type` of HAProxy"
        }
        (R::Compressed, P::Envoy) => {
            "remove text/event-stream from content_type of Envoy's compressor filter"
        }
        (R::Compressed, P::Traefik) => {
            "add text/event-stream to excludedContentTypes of Traefik's Compress middleware"
        }
        (R::Compressed, P::Cloudflare) => {
            "add a compression rule that disables compression for this path in Cloudflare"
        }
        (R::Compressed, P::CloudFront) => {
            "turn `Compress objects automatically` off for this path in CloudFront"
        }
        (R::Compressed, _) => {
            "exempt text/event-stream from the compression of the proxy: it holds events back"
        }
        (R::IdleTimeout, P::Nginx) => {
            "raise proxy_read_timeout of nginx (annotation nginx.ingress.kubernetes.io/proxy-read-timeout: \"3600\"), or send heartbeats more often \
             (delivery.heartbeatSeconds)"
        }
        (R::IdleTimeout, P::Haproxy) => {
            "raise `timeout server` and `timeout client` of HAProxy to 1h (annotations haproxy.org/timeout-server, \
             haproxy-ingress.github.io/timeout-server or haproxy.router.openshift.io/timeout), or send heartbeats more often (delivery.heartbeatSeconds)"
        }
        (R::IdleTimeout, P::Envoy) => {
            "raise stream_idle_timeout of Envoy, or send heartbeats more often (delivery.heartbeatSeconds)"
        }
        (R::IdleTimeout, P::Aws) => {
            "raise idle_timeout.timeout_seconds of the load balancer, or send heartbeats more often (delivery.heartbeatSeconds)"
        }
        (R::IdleTimeout, _) => {
            "raise the idle time-out of the proxy (nginx: proxy_read_timeout; HAProxy: timeout server, timeout client; Envoy: stream_idle_timeout; AWS: \
             idle_timeout.timeout_seconds), or send heartbeats more often (delivery.heartbeatSeconds)"
        }
        (R::TimeLimit, P::Envoy) => {
            "set the timeout of the route to 0s in Envoy (HTTPRoute: timeouts.request: 0s; by default 15 s)"
        }
        (R::TimeLimit, P::Google) => {
            "raise timeoutSec of the backend service (BackendConfig or GCPBackendPolicy; by default 30 s), which limits whole streams"
        }
        (R::TimeLimit, _) => {
            "remove the time limit of whole responses from the proxy (Envoy: timeout of the route, by default 15 s; Google Cloud: timeoutSec of the backend \
             service, by default 30 s), or raise it to an hour"
        }
        (R::BodyTooLarge, P::Nginx) => {
            "raise client_max_body_size of nginx (annotation nginx.ingress.kubernetes.io/proxy-body-size) to publishing.maxBatchBytes"
        }
        (R::BodyTooLarge, P::Haproxy) => {
            "raise the limit in the rule of HAProxy that rejects large bodies (http-request deny with req.body_size or content-length) to \
             publishing.maxBatchBytes"
        }
        (R::BodyTooLarge, P::Envoy) => {
            "raise max_request_bytes of Envoy's buffer filter to publishing.maxBatchBytes, or remove the filter from this route"
        }
        (R::BodyTooLarge, P::Traefik) => {
            "raise maxRequestBodyBytes of Traefik's Buffering middleware to publishing.maxBatchBytes"
        }
        (R::BodyTooLarge, P::Cloudflare) => {
            "lower publishing.maxBatchBytes: Cloudflare limits bodies by plan"
        }
        (R::BodyTooLarge, _) => {
            "raise the limit of request bodies of the proxy to publishing.maxBatchBytes, or lower that"
        }
        (R::Unknown, _) => "",
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_annotations_of_every_ingress_with_haproxy_are_named() {
        let text = advice(DeliveryReason::IdleTimeout, Proxy::Haproxy);
        for prefix in ["haproxy.org/", "haproxy-ingress.github.io/", "haproxy.router.openshift.io/"]
        {
            assert!(text.contains(&format!("{prefix}timeout")), "{prefix}: {text}");
        }
    }

    #[test]
    fn the_outermost_proxy_is_told_from_headers_before_the_hint() {
        for (name, value, hint, expected) in [
            ("server", "nginx/1.22.1", None, Proxy::Nginx),
            ("server", "envoy", Some("nginx"), Proxy::Envoy),
            ("server", "cloudflare", None, Proxy::Cloudflare),
            ("cf-ray", "1", Some("nginx"), Proxy::Cloudflare),
            ("via", "1.1 google", None, Proxy::Google),
            ("x-envoy-upstream-service-time", "3", None, Proxy::Envoy),
            ("date", "today", Some("haproxy-internal"), Proxy::Haproxy),
            ("date", "today", Some("alb"), Proxy::Aws),
            ("date", "today", None, Proxy::Unknown),
        ] {
            let headers = HeaderMap::from_iter([(
                name.parse::<http::HeaderName>().unwrap(),
                HeaderValue::from_static(value),
            )]);
            assert_eq!(Proxy::of(&headers, hint), expected, "{name}: {value}");
        }
    }

    #[test]
    fn advice_speaks_of_the_proxy_that_was_found() {
        use DeliveryReason as R;
        for (reason, proxy, word) in [
            (R::Buffered, Proxy::Nginx, "proxy_buffering off"),
            (R::Buffered, Proxy::Traefik, "Buffering middleware"),
            (R::Compressed, Proxy::Haproxy, "HAProxy"),
            (R::IdleTimeout, Proxy::Aws, "idle_timeout.timeout_seconds"),
            (R::IdleTimeout, Proxy::Unknown, "stream_idle_timeout"),
            (R::TimeLimit, Proxy::Google, "timeoutSec"),
            (R::BodyTooLarge, Proxy::Envoy, "max_request_bytes"),
            (R::Unreachable, Proxy::Nginx, "DNS"),
        ] {
            assert!(advice(reason, proxy).contains(word), "{reason:?} {proxy:?}");
        }
        assert_eq!(advice(R::Unknown, Proxy::Nginx), "");
    }
}
