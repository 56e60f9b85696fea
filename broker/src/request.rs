//! The context of a request: what is known besides its head and body.

use std::{net::IpAddr, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{sockets::Connection, tls::ClientCertificate};

/// The context of one request.
#[derive(Clone)]
pub(crate) struct RequestContext {
    /// The other end of the connection, or the client that the PROXY protocol names.
    pub(crate) peer: IpAddr,
    /// The certificate that the client has presented, if it has one.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    /// The connection on which the request arrived.
    pub(crate) connection: Arc<Connection>,
    /// Ends the connection of HTTP/1.1, or the stream of HTTP/2, that carries the response: a body that is not polled cannot end itself.
    pub(crate) kill: CancellationToken,
}
