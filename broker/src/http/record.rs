//! Collects facts about a request while it is handled, for its response, its metrics and the access log.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use eventcast_crds::config::Access;
use eventcast_wire::trace_context::TraceContext;
use http::{Method, Request, Response, Version};
use tokio::time::Instant;

use super::{
    Answer,
    route::{self, Route},
};
use crate::{
    access_log::{self, Line},
    broker::Broker,
    channel::Channel,
    client::client_address,
    request::RequestContext,
    spans::Parent,
};

/// Why a request was refused: the name of its problem, or the check that its credential failed. Stored in the extensions of the response.
#[derive(Clone)]
pub(super) struct Reason(pub(super) Cow<'static, str>);

/// The trace context of the span of a request. Stored in the extensions of the response.
#[derive(Clone)]
pub(super) struct Traced(pub(super) TraceContext);

/// The facts about one request.
pub(super) struct RequestRecord {
    pub(super) route: &'static str,
    pub(super) method: Method,
    /// Which pages may read the response.
    pub(super) access: Access,
    /// The key of the channel, once it is found.
    pub(super) channel: Option<Arc<str>>,
    /// The address of the client, as its proxies report it.
    pub(super) client: IpAddr,
    /// Who the client is, once its credential is verified.
    pub(super) subject: Option<Arc<str>>,
    /// Its sampled trace context: that of its headers, and later that of its own span.
    trace: Option<TraceContext>,
    /// What else its line in the access log needs; `None` if the access log is off, and once the line is written.
    pending: Option<Pending>,
}

struct Pending {
    protocol: &'static str,
    began: Instant,
}

impl RequestRecord {
    pub(super) fn begin<B>(
        broker: &Broker,
        context: &RequestContext,
        request: &Request<B>,
        route: Option<&Route>,
        trace: Option<&Parent>,
    ) -> Self {
        let config = broker.config();
        let pending = access_log::is_on()
            .then(|| Pending { protocol: protocol(request.version()), began: Instant::now() });
        Self {
            route: route::label(route),
            method: request.method().clone(),
            access: Access::default(),
            channel: None,
            client: client_address(context.peer, request.headers(), &config.limits.trusted_proxies),
            subject: None,
            trace: trace.map(|trace| trace.context).filter(TraceContext::is_sampled),
            pending,
        }
    }

    /// Lets pages that may use `channel` read the response to a request that was rejected before the channel was found.
    pub(super) fn allow_pages_of(&mut self, channel: Option<Arc<Channel>>) {
        if let Some(channel) = channel {
            self.access = channel.config().access.clone();
        }
    }

    /// Counts and logs the response. The line of a stream is written when it ends.
    pub(super) fn answered(&mut self, broker: &Broker, response: &Response<Answer>) {
        let status = response.status();
        broker.metrics.http_requests.answered(self.route, &self.method, status);
        let Some(pending) = self.pending.take() else { return };
        let bytes = match response.body() {
            Answer::Stream(_) => return,
            Answer::Empty => 0,
            Answer::Full(bytes) => bytes.len(),
        };
        if let Some(Traced(trace)) = response.extensions().get() {
            self.trace = Some(*trace);
        }
        let reason = response.extensions().get().map(|Reason(reason)| &**reason);
        self.line(&pending).answered(status.as_u16(), reason, bytes);
    }

    fn line(&self, pending: &Pending) -> Line<'_> {
        Line {
            client: self.client,
            protocol: pending.protocol,
            method: self.method.as_str(),
            route: self.route,
            channel: self.channel.as_deref(),
            subject: self.subject.as_deref(),
            duration: pending.began.elapsed(),
            trace: self.trace,
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.line(&pending).abandoned();
        }
    }
}

/// The version of HTTP as the access log has it.
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}
