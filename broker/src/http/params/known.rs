//! The parameters and the `Eventcast-*` headers that each resource accepts. Others are rejected: if `topic[0]=user.1` were ignored,
//! it would subscribe to everything, and on a `POST` it would publish a broadcast. Pure.

use http::HeaderMap;

use super::Problem;

/// The parameters and headers that a resource accepts.
pub(crate) struct KnownParams {
    /// The name of the resource, for messages.
    resource: &'static str,
    pub(crate) params: &'static [&'static str],
    /// Whether it accepts a cursor as a parameter, in any spelling.
    cursor: bool,
    /// Names of headers with the prefix `eventcast-`.
    pub(crate) headers: &'static [&'static str],
}

pub(crate) const SUBSCRIBE: KnownParams = KnownParams {
    resource: "a subscription",
    params: &["topic", "type", "from", "lastEventId", "heartbeat"],
    cursor: true,
    headers: &[],
};
pub(crate) const HISTORY: KnownParams = KnownParams {
    resource: "history (Accept: application/json)",
    params: &["topic", "type", "source", "broadcast", "from", "until", "limit", "order"],
    cursor: false,
    headers: &[],
};
pub(crate) const STATS: KnownParams = KnownParams {
    resource: "statistics",
    params: &["topic", "type", "source", "broadcast", "from", "until", "bucket"],
    cursor: false,
    headers: &[],
};
pub(crate) const PUBLISH: KnownParams = KnownParams {
    resource: "publishing",
    params: &["topic", "type", "source", "ttl"],
    cursor: false,
    headers: &["eventcast-topic", "eventcast-type", "eventcast-source", "eventcast-ttl"],
};
pub(crate) const ERASE: KnownParams =
    KnownParams { resource: "erasing", params: &["topic"], cursor: false, headers: &[] };
pub(crate) const ERASE_EVENT: KnownParams =
    KnownParams { resource: "erasing one event", params: &[], cursor: false, headers: &[] };
pub(crate) const CHANNEL: KnownParams = KnownParams {
    resource: "the description of a channel",
    params: &[],
    cursor: false,
    headers: &[],
};
pub(crate) const ACCESS: KnownParams =
    KnownParams { resource: "the grant of a client", params: &[], cursor: false, headers: &[] };
pub(crate) const TICKETS: KnownParams =
    KnownParams { resource: "taking a ticket", params: &[], cursor: false, headers: &[] };
pub(crate) const RENEWALS: KnownParams =
    KnownParams { resource: "renewing a grant", params: &[], cursor: false, headers: &[] };
pub(crate) const SUBSCRIBERS: KnownParams = KnownParams {
    resource: "the list of subscribers",
    params: &["subject", "limit"],
    cursor: false,
    headers: &[],
};
pub(crate) const DISCONNECT: KnownParams = KnownParams {
    resource: "disconnecting subscribers",
    params: &["subject", "session"],
    cursor: false,
    headers: &[],
};
pub(crate) const CHANNELS: KnownParams =
    KnownParams { resource: "the list of channels", params: &[], cursor: false, headers: &[] };

/// Parameters of every resource: those that name a credential, which [`credentials`](crate::http::credentials) reads, and those that
/// are ignored because clients add them to any URL: jQuery's cache buster, and padding that polyfills request for old browsers.
const COMMON_PARAMS: [&str; 5] = ["_", "credentials", "evs_preamble", "padding", "ticket"];
/// Characters of an unknown name that are echoed to the client.
const MAX_ECHOED_NAME_CHARS: usize = 64;

/// Whether a parameter is a spelling of `lastEventId`. Polyfills and Mercure use different cases, with or without `-` and `_`; one
/// polyfill adds the prefix `evs_`.
pub(crate) fn is_cursor(name: &str) -> bool {
    let plain = name.to_ascii_lowercase().replace(['-', '_'], "");
    plain == "lasteventid" || plain == "evslasteventid"
}

impl KnownParams {
    /// Rejects a parameter, or an `Eventcast-*` header, that the resource does not accept.
    pub(super) fn check<'a>(
        &self,
        mut params: impl Iterator<Item = &'a str>,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let is_known = |name: &str| {
            self.params.contains(&name)
                || COMMON_PARAMS.contains(&name)
                || (self.cursor && is_cursor(name))
        };
        if let Some(unknown) = params.find(|name| !is_known(name)) {
            return Err(self.unknown_param(unknown));
        }
        let mut headers = headers.keys().map(http::HeaderName::as_str);
        match headers.find(|name| name.starts_with("eventcast-") && !self.headers.contains(name)) {
            Some(unknown) => Err(self.unknown_header(unknown)),
            None => Ok(()),
        }
    }

    fn unknown_param(&self, name: &str) -> Problem {
        let shown: String = name.chars().take(MAX_ECHOED_NAME_CHARS).collect();
        let (bare, indexed) = name.split_once('[').map_or((name, false), |(bare, _)| (bare, true));
        let elsewhere = [&SUBSCRIBE, &HISTORY, &STATS, &PUBLISH]
            .into_iter()
            .find(|other| other.params.contains(&name) || (other.cursor && is_cursor(name)));
        let mut detail = match (elsewhere, nearest(bare, self.params)) {
            (Some(other), _) => {
                format!("{shown} is a parameter of {}, not of {}.", other.resource, self.resource)
            }
            (None, Some(nearest)) => {
                format!("Unknown parameter {shown:?}: did you mean {nearest}?")
            }
            (None, None) => format!("Unknown parameter {shown:?}."),
        };
        if indexed {
            detail += " Repeat a parameter to send several values: topic=a&topic=b.";
        }
        detail += &match self.params {
            [] => format!(" There are no parameters for {}.", self.resource),
            params => format!(" The parameters of {} are {}.", self.resource, params.join(", ")),
        };
        Problem::field(&shown, detail)
    }

    fn unknown_header(&self, name: &str) -> Problem {
        let shown: String = name.chars().take(MAX_ECHOED_NAME_CHARS).collect();
        let detail = match nearest(name, self.headers) {
            Some(nearest) => format!(
                "Unknown header {shown}: did you mean {nearest}? Publishing accepts {}.",
                self.headers.join(", ")
            ),
            None => format!("{shown} has no meaning for {}. Use query parameters.", self.resource),
        };
        Problem::field(&shown, detail)
    }
}

fn nearest<'a>(name: &str, known: &'a [&'a str]) -> Option<&'a str> {
    let name: String =
        name.chars().take(MAX_ECHOED_NAME_CHARS).collect::<String>().to_ascii_lowercase();
    let distance = |known: &&&str| strsim::osa_distance(&name, &known.to_ascii_lowercase());
    known.iter().min_by_key(distance).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(known: &KnownParams, name: &str) -> String {
        let problem = known.check([name].into_iter(), &HeaderMap::new()).unwrap_err();
        format!("{problem:?}")
    }

    #[test]
    fn the_nearest_parameter_is_named() {
        for (name, nearest) in [
            ("topic[0]", "topic"),
            ("topic[]", "topic"),
            ("Topic", "topic"),
            ("topics", "topic"),
            ("tpoic", "topic"),
            ("typ", "type"),
            ("form", "from"),
            ("hearbeat", "heartbeat"),
        ] {
            let problem = rejection(&SUBSCRIBE, name);
            assert!(problem.contains(&format!("did you mean {nearest}?")), "{name}: {problem}");
        }
        assert!(rejection(&SUBSCRIBE, "limit").contains("a parameter of history"));
        assert!(rejection(&HISTORY, "lastEventID").contains("a parameter of a subscription"));
        assert!(rejection(&PUBLISH, "from").contains("a parameter of a subscription"));
        assert!(rejection(&CHANNEL, "topics").contains("There are no parameters"));
        assert!(rejection(&STATS, &"é".repeat(10_000)).len() < 1000);
    }

    #[test]
    fn parameters_that_clients_add_by_themselves_are_ignored() {
        for name in COMMON_PARAMS {
            for known in
                [&SUBSCRIBE, &HISTORY, &STATS, &PUBLISH, &ERASE, &ERASE_EVENT, &CHANNEL, &CHANNELS]
            {
                assert_eq!(known.check([name].into_iter(), &HeaderMap::new()), Ok(()), "{name}");
            }
        }
    }

    #[test]
    fn an_unknown_eventcast_header_is_rejected() {
        let check = |known: &KnownParams, name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, "x".parse().unwrap());
            known.check(std::iter::empty(), &headers).map_err(|p| format!("{p:?}"))
        };
        assert_eq!(check(&PUBLISH, "eventcast-topic"), Ok(()));
        assert_eq!(check(&PUBLISH, "x-anything"), Ok(()));
        for name in ["eventcast-topics", "eventcast-topik", "eventcast-tpic"] {
            assert!(check(&PUBLISH, name).unwrap_err().contains("did you mean eventcast-topic?"));
        }
        assert!(check(&SUBSCRIBE, "eventcast-topic").unwrap_err().contains("query parameters"));
    }
}
