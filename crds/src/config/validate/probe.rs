//! Validates the delivery probe of a channel.

use super::Problems;
use crate::config::{Authority, Probe};

impl Probe {
    pub(super) fn problems(&self, path: &str, p: &mut Problems) {
        p.check(
            format!("{path}.url"),
            is_http_url(&self.url),
            "must be the URL of the channel's events, such as https://events.example.com/channels/shop/orders/events",
        );
        p.range(format!("{path}.intervalSeconds"), self.interval_seconds, 60, 86_400);
        p.range(format!("{path}.streamSeconds"), self.stream_seconds, 1, 600);
    }
}

/// Whether `url` is one of HTTP or HTTPS, without credentials, query and fragment.
fn is_http_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.and_then(|rest| rest.split_once('/')).is_some_and(|(authority, path)| {
        url.len() <= 2048
            && Authority::parse(&authority.to_ascii_lowercase()).is_some()
            && path.bytes().all(|b| b.is_ascii_graphic() && !b"?#{}".contains(&b))
    })
}

#[cfg(test)]
mod tests {
    use crate::config::load::load;

    #[test]
    fn a_probe_needs_a_url_that_clients_can_open() {
        let with = |probe: &str| {
            let yaml = format!("channels: [{{namespace: a, name: b, probe: {{{probe}}}}}]");
            let config = load(&yaml, &[]).unwrap().config;
            config.problems().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for good in ["http://a.example/x", "https://[::1]:8443/channels/a/b/events"] {
            assert_eq!(with(&format!("url: '{good}'")), Vec::<String>::new());
        }
        for bad in ["ftp://a/x", "https://a.example", "https:///x", "https://u@a/x", "http://a/x?y"]
        {
            let found = with(&format!("url: '{bad}'"));
            assert!(found.len() == 1 && found[0].starts_with("channels[0].probe.url: "), "{bad}");
        }
        let found = with("url: 'http://a/x', intervalSeconds: 5, streamSeconds: 0");
        assert_eq!(
            found,
            [
                "channels[0].probe.intervalSeconds: 5 is not in 60..=86400",
                "channels[0].probe.streamSeconds: 0 is not in 1..=600",
            ]
        );
    }
}
