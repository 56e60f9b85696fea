//! The TLS handshake of a connection, within limits on its time, on all handshakes at once, and on those of one client, so that half-open
//! handshakes of one client do not delay others.

use std::{future::pending, io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{
    linger::{self, LINGER, SHORT_LINGER},
    refusal,
};
use crate::{
    access::audit,
    broker::Broker,
    client::Client,
    tls::{self, AcceptError, Certificates, ClientCertificate, TlsStream},
};

/// How long the first message of a client may take to begin, and then to be complete.
const CLIENT_HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a handshake failed.
enum Refused {
    /// The client did not complete the handshake in time.
    TooSlow,
    /// It closed the connection.
    Ended,
    /// It does not speak TLS.
    Plaintext,
    /// The broker has no usable certificate.
    NoCertificate,
    /// For example, there is no common protocol version, or one side does not trust the certificate of the other.
    Failed(AcceptError),
}

impl Refused {
    fn as_str(&self) -> &'static str {
        match self {
            Self::TooSlow => "timeout",
            Self::Ended => "ended",
            Self::Plaintext => "plaintext",
            Self::NoCertificate => "no-certificate",
            Self::Failed(error) => error.refused_certificate().unwrap_or("failed"),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// A connection, and the certificate that its client has presented.
type Accepted = (TlsStream, Option<ClientCertificate>);

/// Completes the handshake until `by`, and counts its outcome.
pub(super) async fn accept(
    socket: TcpStream,
    certificates: &Arc<Certificates>,
    broker: &Broker,
    client: IpAddr,
    by: Instant,
) -> Option<Accepted> {
    let accepted = timeout_at(by, begin(socket, certificates, broker, client)).await;
    match accepted.unwrap_or(Err(Refused::TooSlow)) {
        Ok((stream, certificate)) => {
            broker.metrics.handshakes(if stream.is_resumed() { "resumed" } else { "full" });
            Some((stream, certificate))
        }
        Err(refused) => {
            broker.metrics.handshakes(refused.as_str());
            if let Refused::Failed(error) = refused {
                match error.refused_certificate() {
                    Some(check) => audit::refused_certificate(client, check),
                    None => tracing::debug!(%client, %error, "TLS handshake failed"),
                }
                // In TLS 1.3 the request of the client may be under way, and would reset the connection before it has read the alert.
                if let AcceptError::Session(_, socket) = error {
                    linger::close(socket, &[], LINGER).await;
                }
            }
            None
        }
    }
}

async fn begin(
    socket: TcpStream,
    certificates: &Arc<Certificates>,
    broker: &Broker,
    client: IpAddr,
) -> Result<Accepted, Refused> {
    let mut first = [0];
    // A connection that sends nothing does not take a handshake slot.
    let peeked = timeout(CLIENT_HELLO_TIMEOUT, socket.peek(&mut first)).await;
    if peeked.map_err(|_| Refused::TooSlow)?? == 0 {
        return Err(Refused::Ended);
    }
    if first[0].is_ascii_uppercase() {
        linger::close(socket, &refusal::of_plaintext(&broker.metrics, client), LINGER).await;
        return Err(Refused::Plaintext);
    }
    let _slot = broker.handshakes.take(Client::of(client), 1).await;
    let Some(served) = certificates.current() else {
        linger::close(socket, tls::ALERT, SHORT_LINGER).await;
        return Err(Refused::NoCertificate);
    };
    let (answered, config) = (Notify::new(), Arc::clone(&served.config));
    let too_slow = async {
        if timeout(CLIENT_HELLO_TIMEOUT, answered.notified()).await.is_ok() {
            pending::<()>().await;
        }
    };
    tokio::select! {
        accepted = TlsStream::accept(socket, config, || answered.notify_one()) => match accepted {
            Ok(stream) => {
                let chain = stream.client_chain();
                let certificate = ClientCertificate::of(chain, certificates, &served);
                Ok((stream, certificate))
            }
            Err(AcceptError::Ended) => Err(Refused::Ended),
            Err(error) => Err(Refused::Failed(error)),
        },
        () = too_slow => Err(Refused::TooSlow),
    }
}
