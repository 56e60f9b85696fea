//! The limit on the size of a request's head, checked before anything else.

use std::sync::Arc;

use http::Request;

use super::problem::{Kind, Problem};
use crate::{broker::Broker, channel::Channel};

/// Rejects a head of more than `limit` bytes. hyper's own limit is higher, so that the response is this one.
pub(super) fn check<B>(request: &Request<B>, limit: usize) -> Result<(), Problem> {
    let target = request.uri().path_and_query().map_or(0, |t| t.as_str().len());
    // Counted as in HTTP/1.1, in any version: with spaces, colons and line ends.
    let line = request.method().as_str().len() + target + " HTTP/1.1\r\n".len() + 1;
    let headers: usize =
        request.headers().iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    let bytes = line + headers + 2;
    if bytes <= limit {
        return Ok(());
    }
    let kind = if line > limit { Kind::TARGET_TOO_LONG } else { Kind::HEAD_TOO_LARGE };
    let detail = format!(
        "The request line and the headers have {bytes} bytes; the limit is {limit} (limits.headBytes). Send less, or raise the limit. \
         Cookies are the usual reason."
    );
    Err(Problem::new(kind, detail).close())
}

/// The channel of a path, if it exists.
pub(super) fn channel(broker: &Broker, path: &str) -> Option<Arc<Channel>> {
    let mut parts = path.strip_prefix("/channels/")?.split('/');
    broker.channel(parts.next()?, parts.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_head_is_counted() {
        let head = "GET /a?b HTTP/1.1\r\nhost: x\r\ncookie: 1234\r\n\r\n";
        let request = || Request::get("/a?b").header("host", "x").header("cookie", "1234").body(());
        let request = request().expect("a request");
        assert_eq!(check(&request, head.len()), Ok(()));
        let problem = check(&request, head.len() - 1).expect_err("one byte too much");
        assert_eq!(problem.status(), 431);
        assert_eq!(check(&request, 10).expect_err("the target alone").status(), 414);
    }
}
