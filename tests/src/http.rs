//! HTTP clients: [`Http1Connection`] if exact bytes matter, [`Publish`] to publish events, [`client`] for everything else. None
//! of them follows redirects, uses a proxy or repeats a request by itself.

mod body;
mod publish;
mod raw;

pub use publish::{Answer, Outcome, Publish, created, publish, publish_retrying};
pub use raw::{Head, Http1Connection};

use reqwest::redirect::Policy;

use crate::tls;

/// Version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by prior knowledge, or with TLS by ALPN.
    Http2,
}

impl Version {
    /// Its name in ALPN.
    #[must_use]
    pub const fn alpn(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// A client with its own connection pool.
///
/// # Panics
/// Never: the options are constant.
#[must_use]
pub fn client(version: Version) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(Policy::none()).tcp_nodelay(true);
    let builder = match version {
        Version::Http1 => builder.http1_only(),
        Version::Http2 => builder.http2_prior_knowledge(),
    };
    let builder = builder.use_preconfigured_tls(tls::client_config(&[version.alpn()]));
    builder.build().expect("constant options are valid")
}
