//! The routes of the public listener. This table determines the handler of a request, the `Allow` header, and the `route` label of metrics:
//! the template of the path, so that clients cannot choose labels and their number is bounded. Pure.

use http::Method;

use crate::metrics::HttpRequests;

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// The web page, or the answer to the health checks of load balancers.
    Root,
    /// The list of channels.
    Channels,
    /// A file of the web page or of the JavaScript client.
    File,
    /// The description of a channel.
    Channel,
    /// Streams, history, publishing and erasing.
    Events,
    /// One event, to erase it.
    Event,
    Stats,
    Access,
    Tickets,
    Renewal,
    Subscribers,
}

/// A resource, the template of its path and its methods.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) resource: Resource,
    pub(crate) path: &'static str,
    /// As in `Allow`.
    pub(crate) methods: &'static str,
}

const READ: &str = "GET, HEAD, OPTIONS";

/// The methods of the server as a whole (RFC 9110, section 9.3.7).
pub(super) const ANY: &str = "GET, HEAD, POST, DELETE, OPTIONS";

/// Streams, history and publishing.
pub(super) const EVENTS: &str = "/channels/{namespace}/{channel}/events";

/// All routes. The first that matches applies.
pub(crate) const ROUTES: [Route; 12] = [
    route(Resource::Root, "/", READ),
    route(Resource::Channels, "/channels", READ),
    route(Resource::File, "/{file}", READ),
    route(Resource::File, "/client/{file}", READ),
    route(Resource::Channel, "/channels/{namespace}/{channel}", READ),
    route(Resource::Events, EVENTS, ANY),
    route(Resource::Event, "/channels/{namespace}/{channel}/events/{cursor}", "DELETE, OPTIONS"),
    route(Resource::Stats, "/channels/{namespace}/{channel}/stats", READ),
    route(Resource::Access, "/channels/{namespace}/{channel}/access", READ),
    route(Resource::Tickets, "/channels/{namespace}/{channel}/tickets", "POST, OPTIONS"),
    route(Resource::Renewal, "/channels/{namespace}/{channel}/renewals/{id}", "POST, OPTIONS"),
    route(
        Resource::Subscribers,
        "/channels/{namespace}/{channel}/subscribers",
        "GET, HEAD, DELETE, OPTIONS",
    ),
];
/// The label of requests without a route.
const OTHER: &str = "other";

const fn route(resource: Resource, path: &'static str, methods: &'static str) -> Route {
    Route { resource, path, methods }
}

impl Route {
    pub(super) fn allows(&self, method: &Method) -> bool {
        self.methods.split(", ").any(|allowed| allowed == method.as_str())
    }

    /// The segments of `path` in place of the names in braces, `""` for those that the template does not have.
    fn parameters<'a>(&self, path: &'a str) -> Option<[&'a str; 3]> {
        let mut parameters = [""; 3];
        let mut found = parameters.iter_mut();
        let (mut template, mut segments) = (self.path.split('/'), path.split('/'));
        loop {
            match (template.next(), segments.next()) {
                (None, None) => return Some(parameters),
                (Some(name), Some(segment)) if name.starts_with('{') && !segment.is_empty() => {
                    *found.next()? = segment;
                }
                (Some(name), Some(segment)) if name == segment => {}
                _ => return None,
            }
        }
    }
}

/// The route of `path` and its parameters. `page`: the web page is served.
pub(super) fn find(path: &str, page: bool) -> Option<(&'static Route, [&str; 3])> {
    ROUTES
        .iter()
        .filter(|route| page || !matches!(route.resource, Resource::Channels | Resource::File))
        .find_map(|route| Some((route, route.parameters(path)?)))
}

/// The label of a request that has this route.
pub(super) fn label(route: Option<&Route>) -> &'static str {
    route.map_or(OTHER, |route| route.path)
}

/// The usual requests and the statuses of their responses.
pub(crate) const USUAL: [(Resource, &str, &[u16]); 13] = [
    (Resource::Root, "GET", &[200]),
    (Resource::Channel, "GET", &[200]),
    (Resource::Events, "GET", &[200, 400, 401, 403, 404, 503]),
    (Resource::Events, "POST", &[201, 202, 400, 401, 403, 404, 413, 415, 422, 429, 503, 504, 507]),
    (Resource::Events, "DELETE", &[204, 401, 403, 503]),
    (Resource::Event, "DELETE", &[204, 401, 403, 404, 503]),
    (Resource::Events, "OPTIONS", &[204]),
    (Resource::Stats, "GET", &[200, 401, 403, 503]),
    (Resource::Access, "GET", &[200, 401]),
    (Resource::Tickets, "POST", &[201, 401, 403, 503]),
    (Resource::Renewal, "POST", &[200, 401, 403]),
    (Resource::Subscribers, "GET", &[200, 401, 403]),
    (Resource::Subscribers, "DELETE", &[200, 401, 403]),
];

/// Creates the series of [`USUAL`], at 0: a rate needs an initial zero.
pub(crate) fn begin_at_zero(requests: &HttpRequests) {
    for (resource, method, codes) in USUAL {
        for route in ROUTES.iter().filter(|route| route.resource == resource) {
            requests.begin_at_zero(route.path, method, codes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_a_template_whatever_a_client_asks_for() {
        let label = |path, page| label(find(path, page).map(|(route, _)| route));
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
            ("/channels/default/demo/events/", OTHER),
            ("/channels/default/demo/renewals/", OTHER),
            ("/channels//demo/events", OTHER),
            ("/channels/default/demo/secret", OTHER),
            ("/channels/default/demo/events/a/b", OTHER),
            ("//", OTHER),
            ("", OTHER),
            ("*", OTHER),
        ] {
            assert_eq!(label(path, false), route, "{path}");
        }
        assert_eq!(label("/app.js", true), "/{file}");
        assert_eq!(label("/client/index.js", true), "/client/{file}");
        assert_eq!(label("/client/index.js", false), OTHER);
        assert_eq!(label("/channels", true), "/channels");
        assert_eq!(label("/a/b", true), OTHER);
    }

    #[test]
    fn the_parameters_of_a_path_are_found() {
        let (route, parameters) = find("/channels/shop/orders/events/e-1-2", false).unwrap();
        assert_eq!((route.resource, parameters), (Resource::Event, ["shop", "orders", "e-1-2"]));
        let (route, parameters) = find("/page.js", true).unwrap();
        assert_eq!((route.resource, parameters), (Resource::File, ["page.js", "", ""]));
        let (route, _) = find("/channels/shop/orders/tickets", false).unwrap();
        assert!(route.allows(&Method::POST) && !route.allows(&Method::GET));
    }
}
