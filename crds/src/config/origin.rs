//! Origins of web pages (RFC 6454), and patterns of origins. Pure.

use std::net::Ipv6Addr;

/// A host name or an IPv6 address. IPv6 addresses are parsed because they have several spellings; IPv4 addresses count as names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host<'a> {
    Name(&'a str),
    V6(Ipv6Addr),
}

/// A host with an optional port: the value of a `Host` header, or the part of an origin after `://`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    host: Host<'a>,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host`, `host:port` or `[address]:port` in lower case. Ignores a trailing dot of the host name.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::V6(address.parse().ok()?), port)
            }
            None => {
                let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let name = name.strip_suffix('.').unwrap_or(name);
                (Host::Name(name).valid()?, port)
            }
        };
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port.parse().ok().filter(|_| digits(port))?),
            None if port.is_empty() => None,
            None => return None,
        };
        Some(Self { host, port })
    }

    /// Whether the text contained a port.
    #[must_use]
    pub fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// Whether both have the same host. Ignores ports.
    #[must_use]
    pub fn is_same_host(&self, other: &Authority<'_>) -> bool {
        self.host == other.host
    }
}

impl<'a> Host<'a> {
    fn valid(self) -> Option<Self> {
        let label = |label: &str| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        };
        match self {
            Self::Name(name) if !name.split('.').all(label) => None,
            host => Some(host),
        }
    }
}

/// The origin of a page as browsers send it: scheme, host and port, in lower case, without a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    scheme: &'a str,
    host: Host<'a>,
    port: u16,
}

impl<'a> Origin<'a> {
    /// Parses an origin. `null` is not an origin.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let default = default_port(scheme)?;
        let Authority { host, port } = Authority::parse(authority)?;
        Some(Self { scheme, host, port: port.unwrap_or(default) })
    }

    /// Whether a page of this origin was served by `host`, the `Host` of a request. A server behind a proxy does not know the scheme of the
    /// original request, so the default ports of both schemes count as no port.
    #[must_use]
    pub fn is_served_by(&self, host: &Authority<'_>) -> bool {
        let has_default_port = default_port(self.scheme) == Some(self.port);
        self.host == host.host
            && (host.port == Some(self.port)
                || (has_default_port && matches!(host.port, None | Some(80 | 443))))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A pattern of origins: one origin, or all subdomains of a domain (`https://*.example.com`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginPattern<'a> {
    /// Exactly this origin.
    Exact(Origin<'a>),
    /// Every subdomain of the origin's host at any depth, but not the host itself.
    Subdomains(Origin<'a>),
}

impl<'a> OriginPattern<'a> {
    /// Parses a pattern. After `*.` it must have at least two labels, and the last one must start with a letter: `*.com` has no single
    /// owner, and addresses have no subdomains.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let port = default_port(scheme)?;
        let (domain, wildcard) = match authority.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (authority, false),
        };
        let Authority { host, port: written } = Authority::parse(domain)?;
        let origin = Origin { scheme, host, port: written.unwrap_or(port) };
        let ends_in_dot = domain.split(':').next().is_some_and(|name| name.ends_with('.'));
        match host {
            _ if ends_in_dot => None,
            _ if !wildcard => Some(Self::Exact(origin)),
            Host::Name(name) => {
                let (_, last) = name.rsplit_once('.')?;
                let owned = last.starts_with(|c: char| c.is_ascii_lowercase());
                owned.then_some(Self::Subdomains(origin))
            }
            Host::V6(_) => None,
        }
    }

    /// Whether `origin` matches the pattern.
    #[must_use]
    pub fn allows(&self, origin: &Origin<'_>) -> bool {
        match (self, origin.host) {
            (Self::Exact(allowed), _) => allowed == origin,
            (Self::Subdomains(domain), Host::Name(name)) => {
                let Host::Name(parent) = domain.host else { return false };
                domain.scheme == origin.scheme
                    && domain.port == origin.port
                    && name.strip_suffix(parent).is_some_and(|sub| sub.ends_with('.'))
            }
            (Self::Subdomains(_), Host::V6(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, origin: &str) -> bool {
        let pattern = OriginPattern::parse(pattern).unwrap();
        Origin::parse(origin).is_some_and(|origin| pattern.allows(&origin))
    }

    #[test]
    fn a_wildcard_matches_subdomains_at_any_depth_and_nothing_else() {
        let pattern = "https://*.example.com";
        for origin in
            ["https://a.example.com", "https://a.b.example.com", "https://x.example.com:443"]
        {
            assert!(allows(pattern, origin), "{origin}");
        }
        for origin in [
            "https://example.com",
            "https://.example.com",
            "https://evilexample.com",
            "https://a.example.com.evil.com",
            "https://a.example.com:8443",
            "http://a.example.com",
            "https://a.example.com:443.evil.com",
            "https://a.example.com/",
            "https://user@a.example.com",
            "https://evil.com#.example.com",
            "https://evil.com\\.example.com",
            "https://*.example.com",
            "https://A.example.com",
            "https://[::1].example.com",
            "null",
            "",
        ] {
            assert!(!allows(pattern, origin), "{origin}");
        }
        assert!(allows("https://*.example.com:8443", "https://a.example.com:8443"));
        assert!(!allows("https://*.example.com:8443", "https://a.example.com"));
    }

    #[test]
    fn patterns_are_origins_or_subdomains_of_a_registrable_domain() {
        for good in [
            "https://app.example.com",
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[2001:db8::1]:8443",
            "https://*.example.com",
            "http://*.dev.example.com:8080",
        ] {
            assert!(OriginPattern::parse(good).is_some(), "{good}");
        }
        for bad in [
            "*",
            "null",
            "https://*",
            "https://*.com",
            "https://*.com:443",
            "https://*.",
            "https://**.example.com",
            "https://*example.com",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "*://*.example.com",
            "https://*.0.0.1",
            "https://*.[::1]",
            "https://a.example.com/",
            "https://a.example.com:*",
            "https://a.example.com:",
            "https://a.example.com:+80",
            "https://a.example.com:65536",
            "https://A.example.com",
            "ftp://a.example.com",
            "https://a..example.com",
            "https://a.example.com.",
            "https://",
        ] {
            assert!(OriginPattern::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn default_ports_and_spellings_do_not_change_an_origin() {
        assert!(allows("https://a.example:443", "https://a.example"));
        assert!(allows("http://a.example", "http://a.example:80"));
        assert!(allows("https://[::1]", "https://[0:0:0:0:0:0:0:1]:443"));
        assert!(!allows("https://a.example:80", "https://a.example"));
        assert!(!allows("https://a.example", "http://a.example"));
    }

    #[test]
    fn a_page_is_served_by_its_host_with_or_without_the_default_port() {
        let served = |host: &str, origin: &str| {
            let origin = Origin::parse(origin).unwrap();
            Authority::parse(host).is_some_and(|host| origin.is_served_by(&host))
        };
        for (host, origin) in [
            ("example.com", "https://example.com"),
            ("example.com", "http://example.com"),
            ("example.com:443", "https://example.com"),
            ("example.com:80", "http://example.com"),
            ("example.com:80", "https://example.com"),
            ("example.com.:443", "https://example.com"),
            ("example.com", "https://example.com."),
            ("example.com:8443", "https://example.com:8443"),
            ("[::1]:443", "https://[::1]"),
            ("[0:0::1]", "http://[::1]"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ] {
            assert!(served(host, origin), "{host} {origin}");
        }
        for (host, origin) in [
            ("example.com:8443", "https://example.com"),
            ("example.com", "https://example.com:8443"),
            ("example.com:443", "https://example.com:8443"),
            ("example.com", "https://example.com:80"),
            ("example.com", "https://example.com.evil.com"),
            ("example.com:443", "https://443"),
            ("sub.example.com", "https://example.com"),
            ("[::1]", "https://[::2]"),
            ("example.com:443@evil.com", "https://evil.com"),
            ("", "https://example.com"),
        ] {
            assert!(!served(host, origin), "{host} {origin}");
        }
    }
}
