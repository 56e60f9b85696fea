//! Routes requests to handlers and completes their responses. Besides [`crate::server`] and `fanout::body`, only this module uses
//! hyper.
//!
//! Routing is one `match`; each handler has a file. Every error is a [`Problem`], rendered in one place. CORS headers are added to
//! every response in one place.

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

use std::sync::Arc;

use bytes::Bytes;
use eventcast_crds::config::{Authority, valid_label};
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
};
use channel_request::ChannelRequest;
use problem::Problem;
use record::Record;
pub(crate) use request_body::RequestBody;

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
    let mut record = Record::begin(&broker, &context, &request);
    let mut response = match dispatch(&broker, &context, request, &mut record).await {
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
    record: &mut Record,
) -> Result<Response<Answer>, Problem> {
    if let Err(problem) = head::check(&request, broker.config().limits.head_bytes) {
        // With CORS headers, so that a page of an allowed origin can read the problem.
        if let Some(channel) = head::channel(broker, request.uri().path()) {
            record.access = channel.config().access.clone();
        }
        return Err(problem);
    }
    check_host(broker, &request)?;
    let path = request.uri().path().to_owned();
    let parts: Vec<_> = path.split('/').skip(1).collect();
    let (method, page) = (request.method().clone(), broker.config().page);
    let reads = method == Method::GET || method == Method::HEAD;
    let (namespace, name, rest) = match *parts {
        [""] if !page && reads => return Ok(alive()),
        [""] if !page => return Err(method_not_allowed("GET, HEAD")),
        ["channels"] if page && reads && broker.config().channel_list => {
            return channel::list(broker, request.uri(), request.headers());
        }
        [file] if page && reads => return page::serve(file).ok_or_else(no_route),
        ["client", file] if page && reads => return page::serve_client(file).ok_or_else(no_route),
        ["channels", namespace, name, ref rest @ ..] => (namespace, name, rest),
        _ => return Err(no_route()),
    };
    let channel = find(broker, namespace, name)?;
    record.access = channel.config().access.clone();
    record.channel = Some(Arc::clone(channel.key()));
    if method == Method::OPTIONS {
        let mut response = cors::options(&record.access, request.headers());
        if rest == ["events"] {
            webhook::grant(&channel.config(), request.headers(), &mut response);
        }
        return Ok(response);
    }
    cors::reject_foreign(&record.access, &request)?;
    if channel.config().leaving {
        return moving::answer(&channel, context, &request, rest == ["events"]);
    }
    let (head, body) = request.into_parts();
    let wanted = authorize::Wanted::of(rest, &head);
    let client = Client::of(record.client);
    // Boxed, as the handlers are: a request then takes no more memory than the step that it is at.
    let authorized = Box::pin(authorize::grant(client, &channel, context, &head, &wanted)).await;
    let grant = match authorized {
        Ok(grant) => grant,
        Err(authorize::Refused::Problem(problem)) => return Err(problem),
        Err(authorize::Refused::Unavailable) => {
            return Ok(subscribe::refuse_for_now(broker, &channel, "unavailable"));
        }
    };
    record.subject = grant.identity.as_ref().map(|identity| Arc::clone(&identity.subject));
    let client_address = record.client;
    let request =
        ChannelRequest { broker, channel: &channel, context, client_address, grant, head };
    match (rest, &method) {
        (["events"], &Method::POST) => Box::pin(publish::handle(request, body)).await,
        (["events"], _) if reads => match accept::negotiate(&request.head.headers)? {
            accept::Representation::Stream => Box::pin(subscribe::handle(request)).await,
            accept::Representation::Json => Box::pin(history::handle(&request)).await,
        },
        (["stats"], _) if reads => Box::pin(stats::handle(&request)).await,
        (["access"], _) if reads => access::describe(&request),
        ([], _) if reads => Box::pin(channel::describe(&request)).await,
        (["events"], &Method::DELETE) => Box::pin(erase::topics(&request)).await,
        (["events", cursor], &Method::DELETE) => Box::pin(erase::event(&request, cursor)).await,
        (["tickets"], &Method::POST) => Box::pin(tickets::issue(&request, body)).await,
        (["renewals", sealed], &Method::POST) => Box::pin(tickets::renew(&request, sealed)).await,
        (["subscribers"], _) if reads => Box::pin(subscribers::list(&request)).await,
        (["subscribers"], &Method::DELETE) => Box::pin(subscribers::disconnect(&request)).await,
        (["events"], _) => Err(method_not_allowed("GET, HEAD, POST, DELETE, OPTIONS")),
        (["events", _], _) => Err(method_not_allowed("DELETE, OPTIONS")),
        (["stats" | "access"] | [], _) => Err(method_not_allowed("GET, HEAD, OPTIONS")),
        (["tickets"] | ["renewals", _], _) => Err(method_not_allowed("POST, OPTIONS")),
        (["subscribers"], _) => Err(method_not_allowed("GET, HEAD, DELETE, OPTIONS")),
        _ => Err(no_route()),
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
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host-not-allowed",
            "Host not allowed",
            detail,
        )
        .with("field", "Host"));
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
        Problem::new(StatusCode::NOT_FOUND, "no-such-channel", "Channel not found", detail)
    })
}

fn no_route() -> Problem {
    let detail = "Channels are at /channels/{namespace}/{channel}, their events at …/events, statistics at …/stats.";
    Problem::new(StatusCode::NOT_FOUND, "no-such-resource", "Not found", detail)
}

fn method_not_allowed(allow: &'static str) -> Problem {
    let detail = format!("This resource allows {allow}.");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
        .allow(allow)
        .close()
}

fn set(headers: &mut HeaderMap, pairs: &[(HeaderName, &'static str)]) {
    for (name, value) in pairs {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
