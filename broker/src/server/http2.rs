//! Gives an HTTP/2 connection to a shard, which serves it from its first byte on, and handles its requests.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{Method, Request, header};
use tokio_util::sync::CancellationToken;

use super::connection::{
    HEAD_TIMEOUT, ServedConnection, now_as_http_date, parser_head_bytes, retired,
};
use crate::{
    broker::Broker,
    fanout::shard::{
        Http2Answer, Http2Deadlines, Http2Handoff, Http2Service, RequestTask, Responder,
    },
    http::{self as handlers, Answer, RequestBody},
    http2::body::Body,
    request::RequestContext,
    sockets::Connection,
    tls::ClientCertificate,
};

/// Gives a connection to a shard. After `drain`, or when it is evicted, its requests are completed.
pub(super) fn serve(served: ServedConnection, broker: &Arc<Broker>, drain: CancellationToken) {
    let ServedConnection { transport, peer, certificate, guard, first_head_by } = served;
    let connection = Arc::clone(guard.connection());
    let idle = Duration::from_secs(broker.config().limits.idle_seconds);
    let (socket, tls) = match transport.into_socket() {
        Ok(parts) => parts,
        Err(error) => {
            tracing::warn!(%error, "failed to take a socket from the runtime");
            return;
        }
    };
    let service = Service {
        broker: Arc::clone(broker),
        peer,
        certificate: certificate.clone(),
        connection: Arc::clone(&connection),
    };
    broker.shards.give_http2(Http2Handoff {
        socket,
        tls,
        guard,
        service: Box::new(service),
        max_head_bytes: u32::try_from(parser_head_bytes(broker)).unwrap_or(u32::MAX),
        deadlines: Http2Deadlines::new(HEAD_TIMEOUT, idle, first_head_by),
        leaving: Box::pin(async move {
            tokio::select! {
                () = drain.cancelled() => {}
                () = connection.evicted() => {}
                () = retired(certificate.as_deref()) => {}
            }
        }),
    });
}

/// Handles the requests of one connection.
struct Service {
    broker: Arc<Broker>,
    peer: IpAddr,
    certificate: Option<Arc<ClientCertificate>>,
    connection: Arc<Connection>,
}

impl Http2Service for Service {
    fn call(&self, request: Request<Body>, responder: Responder) -> RequestTask {
        let guard = self.connection.begin_request();
        let kill = CancellationToken::new();
        let context = RequestContext {
            peer: self.peer,
            certificate: self.certificate.clone(),
            connection: Arc::clone(&self.connection),
            kill: kill.clone(),
        };
        let handled = handle(Arc::clone(&self.broker), context, request, responder, kill);
        RequestTask::new(guard, tokio::spawn(handled))
    }
}

async fn handle(
    broker: Arc<Broker>,
    context: RequestContext,
    request: Request<Body>,
    mut responder: Responder,
    kill: CancellationToken,
) {
    let is_head = request.method() == Method::HEAD;
    let request = request.map(RequestBody::Http2);
    let response = tokio::select! {
        response = handlers::handle(broker, context, request) => response,
        () = kill.cancelled() => return, // which resets the stream
    };
    let (mut head, answer) = response.into_parts();
    head.headers.entry(header::DATE).or_insert_with(now_as_http_date);
    let body = match answer {
        Answer::Stream(subscription) => {
            return responder.respond(head, Http2Answer::Stream(subscription));
        }
        Answer::Empty => Default::default(),
        Answer::Full(bytes) => {
            head.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
            if is_head { Default::default() } else { bytes }
        }
    };
    responder.respond(head, Http2Answer::Body(body));
    // The task is cancelled when the stream has ended. If the client does not read the answer in time, `kill` resets the stream.
    kill.cancelled().await;
    responder.reset();
}
