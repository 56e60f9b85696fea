//! The files of `channelsFolder`: channels in JSON, of which each is valid or not for itself. Pure.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    ChannelConfig,
    load::{LoadError, typed},
    valid_label,
};

/// One entry of a file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `<namespace>/<name>`.
    pub channel: String,
    /// The configuration, or what is wrong with it: one message per problem.
    pub config: Result<Arc<ChannelConfig>, Vec<String>>,
    /// Paths of the keys that this version does not know.
    pub unknown: Vec<String>,
}

/// What a file contains.
#[derive(Clone, Debug, Default)]
pub struct ChannelFile {
    /// Its channels, in order.
    pub entries: Vec<Entry>,
    /// Entries that name no channel: one message each.
    pub unnamed: Vec<String>,
}

impl ChannelFile {
    /// Parses the content of a file. `knows_clients`: whether the broker can verify the certificates of clients.
    ///
    /// # Errors
    /// It is no JSON object with a list `channels`. The message says why.
    pub fn parse(text: &[u8], knows_clients: bool) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Content {
            channels: Vec<Value>,
        }
        let content: Content = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let mut file = Self::default();
        for (i, value) in content.channels.into_iter().enumerate() {
            match Self::name(&value) {
                Some(channel) => file.entries.push(Entry::parse(channel, &value, knows_clients)),
                None => file.unnamed.push(format!(
                    "channels[{i}]: namespace and name must be DNS labels: a-z, 0-9 and -, at most 63"
                )),
            }
        }
        Ok(file)
    }

    fn name(value: &Value) -> Option<String> {
        let label = |key: &str| value.get(key)?.as_str().filter(|label| valid_label(label));
        Some(format!("{}/{}", label("namespace")?, label("name")?))
    }
}

impl Entry {
    fn parse(channel: String, value: &Value, knows_clients: bool) -> Self {
        let (config, unknown) = match typed::<ChannelConfig>(value) {
            Ok((config, unknown)) => {
                let problems = config.own_problems(knows_clients);
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                let config = if problems.is_empty() { Ok(Arc::new(config)) } else { Err(problems) };
                (config, unknown)
            }
            Err(LoadError::Value { path, message }) if path == "." => {
                (Err(vec![message]), Vec::new())
            }
            Err(error) => (Err(vec![error.to_string()]), Vec::new()),
        };
        Self { channel, config, unknown }
    }
}

impl ChannelConfig {
    /// The channel as JSON, with only what differs from the defaults: as files of `channelsFolder` have it.
    #[must_use]
    pub fn to_sparse_json(&self) -> Value {
        let json = |config: &Self| serde_json::to_value(config).unwrap_or_default();
        let mut sparse = difference(json(self), &json(&Self::default()));
        if let Value::Object(map) = &mut sparse {
            map.insert("namespace".into(), self.namespace.clone().into());
            map.insert("name".into(), self.name.clone().into());
        }
        sparse
    }
}

/// What `value` has and `default` has not.
fn difference(value: Value, default: &Value) -> Value {
    match (value, default) {
        (Value::Object(map), Value::Object(defaults)) => {
            let differing = map.into_iter().filter(|(key, value)| defaults.get(key) != Some(value));
            let difference = differing.map(|(key, value)| {
                let default = defaults.get(&key).unwrap_or(&Value::Null);
                (key, difference(value, default))
            });
            Value::Object(difference.collect::<Map<_, _>>())
        }
        (value, _) => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Access;

    fn parse(channels: &Value) -> ChannelFile {
        let text = serde_json::to_vec(&json!({"channels": channels})).unwrap();
        ChannelFile::parse(&text, false).unwrap()
    }

    #[test]
    fn a_sparse_channel_is_read_as_what_it_was() {
        let mut channel = ChannelConfig::new("shop", "orders");
        let name = json!({"namespace": "shop", "name": "orders"});
        assert_eq!(channel.to_sparse_json(), name);
        channel.access = Access::open();
        channel.delivery.heartbeat_seconds = 7;
        channel.publishing.types = vec!["order.>".into()];
        channel.generation = Some(3);
        channel.leaving = true;
        let sparse = channel.to_sparse_json();
        assert_eq!(sparse["delivery"], json!({"heartbeatSeconds": 7}), "{sparse}");
        assert_eq!(sparse.get("retention"), None, "{sparse}");
        let file = parse(&json!([sparse]));
        assert_eq!(file.entries[0].config.as_deref(), Ok(&channel));
    }

    #[test]
    fn an_invalid_channel_does_not_affect_the_others() {
        let file = parse(&json!([
            {"namespace": "shop", "name": "orders", "colour": "red"},
            {"namespace": "shop", "name": "bad-value", "delivery": {"heartbeatSeconds": 0, "stallSeconds": 0}},
            {"namespace": "shop", "name": "bad-type", "delivery": {"heartbeatSeconds": "soon"}},
            {"namespace": "shop", "name": "certificates", "access": {"certificates": [{}]}},
            {"namespace": "Shop", "name": "a/b"},
            7,
            {"namespace": "shop", "name": "last"},
        ]));
        assert_eq!(file.unnamed.len(), 2, "{file:?}");
        assert!(file.unnamed[0].starts_with("channels[4]: "), "{file:?}");
        let said = |i: usize| file.entries[i].config.clone().unwrap_err();
        assert_eq!(file.entries[0].unknown, ["colour"]);
        assert!(file.entries[0].config.is_ok() && file.entries[4].config.is_ok());
        assert_eq!(said(1).len(), 2, "{file:?}");
        assert_eq!(said(1)[0], "delivery.heartbeatSeconds: 0 is not in 1..=300");
        assert!(said(2)[0].starts_with("delivery.heartbeatSeconds: invalid type"), "{file:?}");
        assert!(said(3).iter().any(|said| said.starts_with("access.certificates: ")), "{file:?}");
    }

    #[test]
    fn a_file_that_is_no_list_of_channels_is_an_error() {
        for text in ["", "[]", "{}", r#"{"channels": {}}"#, r#"{"channels": ["#] {
            assert!(ChannelFile::parse(text.as_bytes(), false).is_err(), "{text}");
        }
        assert!(ChannelFile::parse(br#"{"channels": [], "more": 1}"#, false).is_ok());
    }
}
