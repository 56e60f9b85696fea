//! `--url` and `NAMESPACE/NAME` -> the URL of a channel. Pure.

use http::Uri;

use crate::failure::Failure;

/// The namespace of a name without one.
const DEFAULT_NAMESPACE: &str = "default";

/// A channel by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ChannelName {
    /// `NAMESPACE/NAME`, or `NAME` in `namespace`.
    ///
    /// # Errors
    /// These are no names of Kubernetes.
    pub(crate) fn parse(text: &str, namespace: Option<&str>) -> Result<Self, Failure> {
        let (namespace, name) = match text.split_once('/') {
            Some(both) => both,
            None => (namespace.unwrap_or(DEFAULT_NAMESPACE), text),
        };
        if !is_label(namespace) || !is_label(name) {
            return Err(Failure::usage(format!(
                "{text:?} is no channel: write NAMESPACE/NAME, such as default/demo"
            )));
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// Its path on every broker.
    pub(crate) fn path(&self) -> String {
        format!("/channels/{}/{}", self.namespace, self.name)
    }
}

/// A DNS label (RFC 1123).
fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// The URL of a channel, without `/events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChannelUrl {
    /// `http` or `https`, and the host.
    pub(crate) origin: Uri,
    /// `/channels/NAMESPACE/NAME`, below whatever prefix a proxy has.
    pub(crate) path: String,
}

impl ChannelUrl {
    /// The channel of `url`, which is that of a channel (with or without `/events`), or that of a broker, to which `name` is added.
    ///
    /// # Errors
    /// The URL is none, or it is not clear which channel is meant.
    pub(crate) fn new(url: &str, name: Option<&ChannelName>) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::usage(format!("--url {url}: {why}"));
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(wrong("write it as http://HOST or https://HOST, with a path or without"));
        }
        if uri.query().is_some() {
            return Err(wrong("remove the query: options such as --topic say what is asked for"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(wrong("a user in a URL is not sent: use --token-file"));
        }
        let path = uri.path().trim_end_matches('/');
        let path = path.strip_suffix("/events").unwrap_or(path);
        let names_channel = is_channel(path);
        let path = match (names_channel, name) {
            (true, None) => path.to_owned(),
            (true, Some(name)) if path.ends_with(&name.path()) => path.to_owned(),
            (true, Some(_)) => return Err(wrong("it is the URL of another channel")),
            (false, Some(name)) => format!("{path}{}", name.path()),
            (false, None) => {
                return Err(wrong(
                    "name the channel as well, as NAMESPACE/NAME, or use the URL of the channel",
                ));
            }
        };
        Ok(Self { origin: uri, path })
    }

    /// The URL as people write it.
    pub(crate) fn shown(&self) -> String {
        self.absolute(&self.path)
    }

    /// The URL of another path on the same host.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let scheme = self.origin.scheme_str().unwrap_or("http");
        let authority = self.origin.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}{path}")
    }
}

/// Whether a path ends as that of a channel.
fn is_channel(path: &str) -> bool {
    let mut segments = path.rsplit('/');
    let mut next = || segments.next().unwrap_or_default();
    is_label(next()) && is_label(next()) && next() == "channels"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(url: &str, name: Option<&str>) -> Result<String, Failure> {
        let name = name.map(|name| ChannelName::parse(name, None)).transpose()?;
        ChannelUrl::new(url, name.as_ref()).map(|channel| channel.shown())
    }

    #[test]
    fn a_url_names_a_channel_or_a_broker() {
        for (given, name, wanted) in [
            ("http://h:1/channels/a/b/events", None, "http://h:1/channels/a/b"),
            ("http://h:1/channels/a/b/", None, "http://h:1/channels/a/b"),
            ("https://h/x/channels/a/b", Some("a/b"), "https://h/x/channels/a/b"),
            ("http://h:1", Some("demo"), "http://h:1/channels/default/demo"),
            ("http://h:1/x/", Some("a/b"), "http://h:1/x/channels/a/b"),
            ("http://[::1]:1", Some("a/b"), "http://[::1]:1/channels/a/b"),
        ] {
            assert_eq!(url(given, name).unwrap(), wanted);
        }
    }

    #[test]
    fn what_is_not_clear_is_an_error_of_usage() {
        for (given, name) in [
            ("h:1", Some("a/b")),
            ("ftp://h", Some("a/b")),
            ("http://h", None),
            ("http://h/channels/a/b?topic=x", None),
            ("http://h/channels/a/b", Some("a/c")),
            ("http://u@h/channels/a/b", None),
            ("http://h", Some("a/b/c")),
            ("http://h", Some("A/b")),
        ] {
            assert!(matches!(url(given, name), Err(Failure::Usage(_))), "{given} {name:?}");
        }
    }
}
