//! Routes as labels of metrics: templates of paths, so that their number is bounded and nothing of a path that clients choose is in
//! them. Pure.

use crate::metrics::HttpRequests;

/// Streams, history and publishing.
pub(super) const EVENTS: &str = "/channels/{namespace}/{channel}/events";
/// Not one of the routes below.
const OTHER: &str = "other";

/// The route of `path`. `page`: the demo page is served.
pub(crate) fn of(path: &str, page: bool) -> &'static str {
    let mut parts = path.split('/').skip(1);
    match parts.next() {
        Some("channels") => {}
        Some("") if parts.next().is_none() => return "/",
        Some(_) if page && parts.next().is_none() => return "/{file}",
        _ => return OTHER,
    }
    match *parts.collect::<Vec<_>>() {
        [] if page => "/channels",
        [_, _] => "/channels/{namespace}/{channel}",
        [_, _, "events"] => EVENTS,
        [_, _, "events", _] => "/channels/{namespace}/{channel}/events/{cursor}",
        [_, _, "stats"] => "/channels/{namespace}/{channel}/stats",
        [_, _, "access"] => "/channels/{namespace}/{channel}/access",
        [_, _, "tickets"] => "/channels/{namespace}/{channel}/tickets",
        [_, _, "renewals", _] => "/channels/{namespace}/{channel}/renewals/{id}",
        [_, _, "subscribers"] => "/channels/{namespace}/{channel}/subscribers",
        _ => OTHER,
    }
}

/// Creates the series of what clients usually ask for and get, at 0: a rate needs an initial zero.
pub(crate) fn begin_at_zero(requests: &HttpRequests) {
    for (path, method, codes) in [
        ("/", "GET", &[200][..]),
        ("/channels/a/b", "GET", &[200]),
        ("/channels/a/b/events", "GET", &[200, 400, 401, 403, 404, 500, 503]),
        (
            "/channels/a/b/events",
            "POST",
            &[201, 202, 400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503, 504, 507],
        ),
        ("/channels/a/b/events", "DELETE", &[204, 401, 403, 503]),
        ("/channels/a/b/events/c", "DELETE", &[204, 401, 403, 404, 503]),
        ("/channels/a/b/events", "OPTIONS", &[204]),
        ("/channels/a/b/stats", "GET", &[200, 401, 403, 503]),
        ("/channels/a/b/access", "GET", &[200, 401]),
        ("/channels/a/b/tickets", "POST", &[201, 401, 403, 503]),
        ("/channels/a/b/renewals/c", "POST", &[200, 401, 403]),
        ("/channels/a/b/subscribers", "GET", &[200, 401, 403]),
        ("/channels/a/b/subscribers", "DELETE", &[200, 401, 403]),
    ] {
        requests.begin_at_zero(of(path, false), method, codes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_template_whatever_a_client_asks_for() {
        let channel = "/channels/{namespace}/{channel}";
        for (path, route) in [
            ("/", "/"),
            ("/channels/default/demo", channel),
            ("/channels/default/demo/events", &format!("{channel}/events")),
            ("/channels/default/demo/events/e-1-2", &format!("{channel}/events/{{cursor}}")),
            ("/channels/default/demo/renewals/secret", &format!("{channel}/renewals/{{id}}")),
            ("/channels/default/demo/subscribers", &format!("{channel}/subscribers")),
            ("/channels", OTHER),
            ("/app.js", OTHER),
            ("/channels/default", OTHER),
            ("/channels/default/demo/", OTHER),
            ("/channels/default/demo/secret", OTHER),
            ("/channels/default/demo/events/a/b", OTHER),
            ("//", OTHER),
            ("", OTHER),
            ("*", OTHER),
        ] {
            assert_eq!(of(path, false), route, "{path}");
        }
        assert_eq!(of("/app.js", true), "/{file}");
        assert_eq!(of("/channels", true), "/channels");
        assert_eq!(of("/a/b", true), OTHER);
    }
}
