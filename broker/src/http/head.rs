//! The size of a request's head, before anything else is looked at.

use std::sync::Arc;

use http::{Request, StatusCode};

use super::problem::Problem;
use crate::{broker::Broker, channel::Channel};

/// Refuses a head of more than `most` bytes. hyper reads somewhat more, so that the answer is ours.
pub(super) fn check<B>(request: &Request<B>, most: usize) -> Result<(), Problem> {
    let target = request.uri().path_and_query().map_or(0, |t| t.as_str().len());
    // The spaces and the version of the request line, the colons and the ends of lines: as in HTTP/1.1, whatever the version is.
    let line = request.method().as_str().len() + target + " HTTP/1.1\r\n".len() + 1;
    let headers: usize =
        request.headers().iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    let bytes = line + headers + 2;
    if bytes <= most {
        return Ok(());
    }
    let (status, name, title) = if line > most {
        (StatusCode::URI_TOO_LONG, "target-too-long", "The request target is too long")
    } else {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        (status, "head-too-large", "The head of the request is too large")
    };
    let detail = format!(
        "The request line and the headers are {bytes} bytes, and {most} are read (limits.headBytes): send less, or raise the limit. \
         Cookies are the usual reason."
    );
    Err(Problem::new(status, name, title, detail).close())
}

/// The channel that a path names, if there is one.
pub(super) fn channel(broker: &Broker, path: &str) -> Option<Arc<Channel>> {
    let mut parts = path.strip_prefix("/channels/")?.split('/');
    broker.channel(parts.next()?, parts.next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_head_counts() {
        let head = "GET /a?b HTTP/1.1\r\nhost: x\r\ncookie: 1234\r\n\r\n";
        let request = || Request::get("/a?b").header("host", "x").header("cookie", "1234").body(());
        let request = request().expect("a request");
        assert_eq!(check(&request, head.len()), Ok(()));
        let problem = check(&request, head.len() - 1).expect_err("one byte too much");
        assert_eq!(problem.status(), 431);
        assert_eq!(check(&request, 10).expect_err("the target alone").status(), 414);
    }
}
