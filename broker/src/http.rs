//! Routes requests to handlers and completes their responses.
//!
//! Routing is one table ([`route`]) and one `match`; each handler has a file. Every error is a [`Problem`], rendered in one place. CORS
//! headers are added to every response in one place.

mod accept;
mod access;
mod authorize;
mod channel;
mod channel_request;
mod cors;
mod credentials;
pub(crate) mod drafts;
mod erase;
mod head;
mod history;
mod link;
mod moving;
#[cfg(test)]
mod openapi;
mod page;
pub(crate) mod params;
pub(crate) mod problem;
mod publish;
mod query_answer;
mod range;
mod record;
mod request_body;
pub(crate) mod route;
mod small_body;
mod stats;
mod subscribe;
mod subscribers;
mod tickets;
mod webhook;
mod whole_number;

use std::sync::Arc;

use bytes::Bytes;
use eventcast_crds::config::{Access, Authority, valid_label};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header,
};
use http_body_util::{Either, Empty, Full};
use serde::Serialize;

use crate::{
    broker::Broker,
    channel::Channel,
    client::Client,
    fanout::{Subscription, body::EventBody},
    request::RequestContext,
    spans::Parent,
};
use channel_request::ChannelRequest;
use problem::{Kind, Problem};
use record::RequestRecord;
pub(crate) use request_body::RequestBody;
use route::{Resource, Route};

/// The body of a response, before it is given to hyper or to a shard.
pub(crate) enum Answer {
    Full(Bytes),
    Empty,
    Stream(Box<Subscription>),
}

/// The body of a response for hyper.
pub(crate) type Body = Either<Either<Full<Bytes>, Empty<Bytes>>, EventBody>;

impl Answer {
    pub(crate) fn into_body(self) -> Body {
        match self {
            Self::Full(bytes) => Either::Left(Either::Left(Full::new(bytes))),
            Self::Empty => Either::Left(Either::Right(Empty::new())),
            Self::Stream(subscription) => Either::Right(EventBody::new(*subscription)),
        }
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Answer {
    Answer::Full(bytes.into())
}

pub(crate) fn empty() -> Answer {
    Answer::Empty
}

/// A JSON response that must not be cached.
fn json(status: StatusCode, body: &impl Serialize) -> Response<Answer> {
    let text = serde_json::to_string(body).unwrap_or_default() + "\n";
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let set = HeaderValue::from_static;
    response.headers_mut().insert(header::CONTENT_TYPE, set("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, set("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, set("nosniff"));
    response
}

/// Handles a request of the public listener.
pub(crate) async fn handle(
    broker: Arc<Broker>,
    context: RequestContext,
    request: Request<RequestBody>,
) -> Response<Answer> {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let path = request.uri().path().to_owned();
    let found = route::find(&path, broker.config().page);
    let trace = Parent::of(request.headers());
    let route = found.map(|(route, _)| route);
    let mut record = RequestRecord::begin(&broker, &context, &request, route, trace.as_ref());
    let mut response = match dispatch(&broker, &context, request, found, trace, &mut record).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    cors::apply(&record.access, origin.as_ref(), &mut response);
    record.answered(&broker, &response);
    response
}

async fn dispatch(
    broker: &Arc<Broker>,
    context: &RequestContext,
    request: Request<RequestBody>,
    found: Option<(&Route, [&str; 3])>,
    trace: Option<Parent>,
    record: &mut RequestRecord,
) -> Result<Response<Answer>, Problem> {
    if let Err(problem) = head::check(&request, broker.config().limits.head_bytes) {
        record.allow_pages_of(head::channel(broker, request.uri().path()));
        return Err(problem);
    }
    check_host(broker, &request)?;
    check_transfer_encoding(request.headers())?;
    let Some((route, [namespace, name, last])) = found else {
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            return Ok(cors::options(&Access::default(), request.headers(), route::ANY));
        }
        record.allow_pages_of(head::channel(broker, request.uri().path()));
        return Err(no_route());
    };
    let (resource, method) = (route.resource, request.method().clone());
    if matches!(resource, Resource::Root | Resource::Channels | Resource::File) {
        return without_channel(broker, &request, route);
    }
    let channel = find(broker, namespace, name)?;
    record.access = channel.config().access.clone();
    record.channel = Some(Arc::clone(channel.key()));
    if method == Method::OPTIONS {
        let mut response = cors::options(&record.access, request.headers(), route.methods);
        if resource == Resource::Events {
            webhook::grant(&channel.config(), request.headers(), &mut response);
        }
        return Ok(response);
    }
    cors::reject_foreign(&record.access, &request)?;
    if channel.config().leaving {
        return moving::answer(&channel, context, &request, resource == Resource::Events);
    }
    let (head, body) = request.into_parts();
    let wanted = authorize::Wanted::of(resource, &head);
    let client = Client::of(record.client);
    // Boxed, as the handlers are, so that a request takes only the memory of its present step.
    let authorized = Box::pin(authorize::grant(client, &channel, context, &head, &wanted)).await;
    let grant = match authorized {
        Ok(grant) => grant,
        Err(authorize::Refused::Problem(problem)) => return Err(problem),
        Err(authorize::Refused::Unavailable) => {
            return Ok(subscribe::refuse_unavailable(broker, &channel));
        }
    };
    record.subject = grant.identity.as_ref().map(|identity| Arc::clone(&identity.subject));
    if !route.allows(&method) {
        return Err(method_not_allowed(route.methods));
    }
    let client_address = record.client;
    let request =
        ChannelRequest { broker, channel: &channel, context, client_address, grant, trace, head };
    match (resource, &method) {
        (Resource::Events, &Method::POST) => Box::pin(publish::handle(request, body)).await,
        (Resource::Events, &Method::DELETE) => Box::pin(erase::topics(&request)).await,
        (Resource::Events, _) => match accept::negotiate(&request.head.headers)? {
            accept::Representation::Stream => Box::pin(subscribe::handle(request)).await,
            accept::Representation::Json => Box::pin(history::handle(&request)).await,
        },
        (Resource::Event, _) => Box::pin(erase::event(&request, last)).await,
        (Resource::Stats, _) => Box::pin(stats::handle(&request)).await,
        (Resource::Access, _) => access::describe(&request),
        (Resource::Channel, _) => Box::pin(channel::describe(&request)).await,
        (Resource::Tickets, _) => Box::pin(tickets::issue(&request, body)).await,
        (Resource::Renewal, _) => Box::pin(tickets::renew(&request, last)).await,
        (Resource::Subscribers, &Method::DELETE) => {
            Box::pin(subscribers::disconnect(&request)).await
        }
        (Resource::Subscribers, _) => Box::pin(subscribers::list(&request)).await,
        (Resource::Root | Resource::Channels | Resource::File, _) => Err(no_route()),
    }
}

/// Answers a request for what belongs to no channel: the web page, its files, the list of channels.
fn without_channel<B>(
    broker: &Broker,
    request: &Request<B>,
    route: &Route,
) -> Result<Response<Answer>, Problem> {
    let config = broker.config();
    let (method, headers) = (request.method(), request.headers());
    let file = request.uri().path().strip_prefix('/').and_then(page::find);
    let file = file.filter(|_| config.page);
    let exists = match route.resource {
        Resource::Channels => config.channel_list,
        Resource::File => file.is_some(),
        _ => true,
    };
    if !exists {
        return Err(no_route());
    }
    if method == Method::OPTIONS {
        return Ok(cors::options(&Access::default(), headers, route.methods));
    }
    if !route.allows(method) {
        return Err(method_not_allowed(route.methods));
    }
    match file {
        Some(file) if route.resource != Resource::Channels => Ok(file.answer(headers)),
        None if route.resource != Resource::Channels => Ok(alive()),
        _ => channel::list(broker, request.uri(), headers),
    }
}

/// The response at `/` if the page is disabled. Load balancers use it as their health check.
fn alive() -> Response<Answer> {
    let mut response = Response::new(full("ok\n"));
    set(
        response.headers_mut(),
        &[
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
    );
    response
}

/// Checks what hyper does not: how the body is coded. hyper undoes the chunks alone, and would pass on what else was applied to it.
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|c| c.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if chunked && codings.next().is_none() {
        return Ok(());
    }
    let detail =
        "Transfer-Encoding must be chunked alone: no other coding of the body is supported.";
    Err(Problem::field("Transfer-Encoding", detail).close())
}

/// Checks what hyper does not: the `Host` header.
fn check_host<B>(broker: &Broker, request: &Request<B>) -> Result<(), Problem> {
    let headers = request.headers();
    if headers.get_all(header::HOST).iter().count() > 1 {
        let detail = "There is more than one Host header. Send it once (RFC 9112, section 3.2).";
        return Err(Problem::field("Host", detail).close());
    }
    let host = host(request.uri(), headers);
    if request.version() == Version::HTTP_11 && host.is_empty() {
        return Err(
            Problem::field("Host", "The Host header is missing (RFC 9112, section 3.2).").close()
        );
    }
    let config = broker.config();
    let allowed = &config.limits.allowed_hosts;
    let requested = host.to_ascii_lowercase();
    let requested = Authority::parse(&requested);
    let is_requested = |allowed: &String| {
        let allowed = allowed.to_ascii_lowercase();
        requested.is_some_and(|requested| {
            Authority::parse(&allowed).is_some_and(|a| a.is_same_host(&requested))
        })
    };
    if !allowed.is_empty() && !allowed.iter().any(is_requested) {
        let detail =
            "This listener does not serve the requested host. Add it to limits.allowedHosts.";
        return Err(Problem::new(Kind::HOST_NOT_ALLOWED, detail).with("field", "Host"));
    }
    Ok(())
}

/// The authority that the client requested: that of the URI in HTTP/2, else the `Host` header.
fn host(uri: &Uri, headers: &HeaderMap) -> String {
    let authority = uri.authority().map(ToString::to_string);
    let header = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    authority.or_else(|| header.map(Into::into)).unwrap_or_default()
}

fn find(broker: &Broker, namespace: &str, name: &str) -> Result<Arc<Channel>, Problem> {
    for (field, label) in [("namespace", namespace), ("channel", name)] {
        if !valid_label(label) {
            let detail =
                format!("A {field} must be a DNS label: a-z, 0-9 and -, at most 63 characters.");
            return Err(Problem::field(field, detail));
        }
    }
    broker.channel(namespace, name).ok_or_else(|| {
        let detail = format!("This broker serves no channel {namespace}/{name}.");
        Problem::new(Kind::NO_SUCH_CHANNEL, detail)
    })
}

fn no_route() -> Problem {
    let detail = "Channels are at /channels/{namespace}/{channel}, their events at …/events, statistics at …/stats.";
    Problem::new(Kind::NO_SUCH_RESOURCE, detail)
}

fn method_not_allowed(allow: &'static str) -> Problem {
    let detail = format!("This resource allows {allow}.");
    Problem::new(Kind::METHOD_NOT_ALLOWED, detail).allow(allow).close()
}

fn set(headers: &mut HeaderMap, pairs: &[(HeaderName, &'static str)]) {
    for (name, value) in pairs {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
