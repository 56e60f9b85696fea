//! HTTP clients: [`Http1Connection`] if exact bytes matter, [`Publish`] to publish events, [`client`] for everything else. None
//! of them follows redirects, uses a proxy or repeats a request by itself.

mod body;
mod publish;
mod raw;

pub use publish::{Answer, Outcome, Publish, created, publish, publish_retrying};
pub use raw::{Head, Http1Connection};

use reqwest::redirect::Policy;

/// Version of HTTP, without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
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
    builder.build().expect("constant options are valid")
}
