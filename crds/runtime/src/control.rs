//! The control port: JSON over HTTP on the loopback addresses, never on the network. In Kubernetes the permission to create
//! `pods/portforward` is the permission to use it, so requests need no credential.
//!
//! A web page that a browser on the same machine shows must not use it: requests with the headers of a browser, or for a host that is not a
//! loopback address, are refused.

mod log_level;

use std::{
    future::ready,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;
use tokio::{net::TcpListener, time::timeout};

pub use crate::http_server::Answer;
use crate::{http_server, listener::listen};

/// The largest body of a request.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The listeners of a control port: on both loopback addresses, as far as the system has them.
pub struct ControlListeners(Vec<TcpListener>);

impl ControlListeners {
    /// Listens on `port`; 0 is any free one. That a port is in use is no reason not to start: the program does without, and says so.
    #[must_use]
    pub fn bind(port: u16) -> Option<Self> {
        let v4 = listen((Ipv4Addr::LOCALHOST, port).into());
        let chosen = v4.as_ref().ok().and_then(|v4| v4.local_addr().ok());
        let port = chosen.map_or(port, |address| address.port());
        let v6 = listen((Ipv6Addr::LOCALHOST, port).into());
        match (v4, v6) {
            (Err(error), Err(_)) => {
                tracing::warn!(
                    %error,
                    port,
                    "there is no control port: connections, kick, log-level and drain of the command line do not work here"
                );
                None
            }
            (v4, v6) => Some(Self([v4, v6].into_iter().flatten().collect())),
        }
    }

    /// The port.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn port(&self) -> io::Result<u16> {
        let first = self.0.first().ok_or(io::ErrorKind::NotFound)?;
        Ok(first.local_addr()?.port())
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    why: String,
}

impl Refused {
    /// The request makes no sense.
    pub fn bad_request(why: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, why: why.into() }
    }

    /// There is nothing with such a path or name.
    pub fn not_found(why: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, why: why.into() }
    }

    /// The path has other methods.
    pub fn method(allowed: &str) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, why: format!("use {allowed}") }
    }
}

/// What a handler answers: JSON.
pub type Handled = Result<Vec<u8>, Refused>;

/// Serves until the future is dropped. `handle` answers requests for all paths but `/log-level`.
///
/// # Errors
/// A listener is broken and will never accept again.
pub async fn serve<F>(
    listeners: ControlListeners,
    handle: impl Fn(Request<Bytes>) -> F + Send + Sync + 'static,
) -> io::Result<()>
where
    F: Future<Output = Handled> + Send + 'static,
{
    let handle = Arc::new(handle);
    let serve = |listener| {
        let handle = Arc::clone(&handle);
        http_server::serve(listener, "control", move |request| {
            let handle = Arc::clone(&handle);
            async move {
                let handled = match read(request).await {
                    Ok(request) if request.uri().path() == log_level::PATH => {
                        log_level::handle(&request)
                    }
                    Ok(request) => handle(request).await,
                    Err(refused) => Err(refused),
                };
                handled.map_or_else(refuse, http_server::json)
            }
        })
    };
    try_join_all(listeners.0.into_iter().map(serve)).await.map(drop)
}

/// Answers `/log-level` alone.
///
/// # Errors
/// As [`serve`].
pub async fn serve_log_level(listeners: ControlListeners) -> io::Result<()> {
    let unknown = |_| ready(Err(Refused::not_found("this port serves /log-level")));
    serve(listeners, unknown).await
}

/// The JSON of a response.
///
/// # Errors
/// It cannot be written.
pub fn body(value: &impl Serialize) -> Handled {
    serde_json::to_vec(value).map_err(|error| Refused {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        why: error.to_string(),
    })
}

fn refuse(refused: Refused) -> Answer {
    let Refused { status, why } = refused;
    let mut answer = http_server::json(json!({ "error": why }).to_string());
    *answer.status_mut() = status;
    answer
}

/// Reads the body of a request that no web page has sent.
async fn read(request: Request<Incoming>) -> Result<Request<Bytes>, Refused> {
    if let Some(why) = browser_request(request.headers()) {
        return Err(Refused { status: StatusCode::FORBIDDEN, why: why.into() });
    }
    let (head, body) = request.into_parts();
    let read = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(Request::from_parts(head, body.to_bytes())),
        Ok(Err(_)) => Err(Refused {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            why: format!("the body did not arrive, or has more than {MAX_BODY_BYTES} bytes"),
        }),
        Err(_) => Err(Refused {
            status: StatusCode::REQUEST_TIMEOUT,
            why: "the body did not arrive".into(),
        }),
    }
}

/// Why a request may have been sent by a web page: browsers add these headers, and a page whose name resolves to this machine has another
/// host.
fn browser_request(headers: &HeaderMap) -> Option<&'static str> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Some("the control port is not for web pages");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.and_then(|host| host.parse::<http::uri::Authority>().ok());
    let is_local = host.is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    (!is_local).then_some("the host must be localhost, 127.0.0.1 or [::1]")
}

/// Refuses other methods than those in `allowed`.
///
/// # Errors
/// The method is another one.
pub fn only(request: &Request<Bytes>, allowed: &[Method]) -> Result<(), Refused> {
    if allowed.contains(request.method()) {
        return Ok(());
    }
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    Err(Refused::method(&names.join(" or ")))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn only_programs_on_this_machine_are_served() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            browser_request(&HeaderMap::from_iter(pairs)).is_none()
        };
        for host in ["localhost", "localhost:9091", "127.0.0.1:80", "[::1]:9091"] {
            assert!(of(&[("host", host)]), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:9091", "10.0.0.1:9091", "[::2]", ""] {
            assert!(!of(&[("host", host)]), "{host}");
        }
        assert!(!of(&[]));
        assert!(!of(&[("host", "localhost"), ("origin", "null")]));
        assert!(!of(&[("host", "localhost"), ("sec-fetch-site", "cross-site")]));
    }

    #[tokio::test]
    async fn a_port_that_is_in_use_is_no_error() {
        let first = ControlListeners::bind(0).unwrap();
        assert!(ControlListeners::bind(first.port().unwrap()).is_none());
    }
}
