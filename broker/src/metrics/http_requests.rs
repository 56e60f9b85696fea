//! Counts of HTTP requests. The labels are bounded: templates of paths, known methods, and statuses that a broker sends.

use http::{Method, StatusCode};
use prometheus::{IntCounterVec, Opts, Registry};

/// The route and the method of a request that was refused before its head was read.
const UNREAD: &str = "none";

/// `eventcast_http_requests_total`.
pub(crate) struct HttpRequests(IntCounterVec);

impl HttpRequests {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "eventcast_http_requests_total",
            "Requests of the public listeners. route is a template of the path, other for paths that do not exist, none for requests that were refused before their head was read. A stream counts when it begins.",
        );
        let counter = IntCounterVec::new(opts, &["route", "method", "code"])?;
        registry.register(Box::new(counter.clone()))?;
        let requests = Self(counter);
        for code in ["400", "408", "431", "503"] {
            requests.0.with_label_values(&[UNREAD, UNREAD, code]);
        }
        Ok(requests)
    }

    /// Creates the series of a route, at 0.
    pub(crate) fn begin_at_zero(&self, route: &'static str, method: &'static str, codes: &[u16]) {
        for code in codes {
            self.0.with_label_values(&[route, method, &code.to_string()]);
        }
    }

    /// A request was answered. `route` is a template.
    pub(crate) fn answered(&self, route: &'static str, method: &Method, status: StatusCode) {
        self.0.with_label_values(&[route, known(method), status.as_str()]).inc();
    }

    /// A request was refused before its head was read.
    pub(crate) fn refused(&self, status: StatusCode) {
        self.0.with_label_values(&[UNREAD, UNREAD, status.as_str()]).inc();
    }
}

/// The method as a label: clients may send any other.
fn known(method: &Method) -> &str {
    const KNOWN: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::DELETE,
        Method::OPTIONS,
        Method::PUT,
        Method::PATCH,
    ];
    if KNOWN.contains(method) { method.as_str() } else { "other" }
}
