//! Parses a configuration: YAML, then overrides, then types. Pure: the caller provides the text and the overrides.
//!
//! A value of the wrong type is an error with the path of its key. Unknown keys are only reported, because an operator may be newer than
//! a broker with a pinned image. The `check` command rejects them.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_saphyr::{budget, options};

use super::BrokerConfig;

/// Values and keys of a file, at most: those of 50,000 channels with all their settings. The default of the parser is enough for 6,000.
const MAX_NODES: usize = 5_000_000;

/// Prefix of the environment variables that override the file: `EVENTCAST__LIMITS__SUBSCRIBERS_PER_ADDRESS=5` sets
/// `limits.subscribersPerAddress`.
pub const ENV_PREFIX: &str = "EVENTCAST__";

/// A value that overrides the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Path of the key, such as `channels[0].access` (or `channels.0.access`).
    pub path: String,
    /// The value as YAML.
    pub value: String,
}

impl Override {
    /// Parses `key.path=value`, the argument of the flag `--set`.
    ///
    /// # Errors
    /// The text has no `=`.
    pub fn from_flag(text: &str) -> Result<Self, String> {
        let (path, value) =
            text.split_once('=').ok_or_else(|| format!("{text}: expected key.path=value"))?;
        Ok(Self { path: path.into(), value: value.into() })
    }

    /// Parses an environment variable; `None` if its name does not start with [`ENV_PREFIX`].
    #[must_use]
    pub fn from_env(name: &str, value: &str) -> Option<Self> {
        let path = name.strip_prefix(ENV_PREFIX)?.split("__").map(camel_case).collect::<Vec<_>>();
        Some(Self { path: path.join("."), value: value.into() })
    }
}

/// The result of parsing a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration. Its values are not validated yet.
    pub config: BrokerConfig,
    /// Paths of the keys that this version does not know.
    pub unknown: Vec<String>,
}

/// Why a text cannot be parsed as a configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The text is not YAML. The message has line and column.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// A value has the wrong type or is out of the range of its type.
    #[error("{path}: {message}")]
    Value {
        /// Path of the key.
        path: String,
        /// What is wrong with its value.
        message: String,
    },
}

/// Parses `text` and applies `overrides`. Later overrides win over earlier ones.
///
/// # Errors
/// The text is not YAML, or a value has the wrong type.
pub fn load(text: &str, overrides: &[Override]) -> Result<Loaded, LoadError> {
    let mut value = yaml(text)?;
    if value.is_null() {
        value = Value::Object(Map::new());
    }
    for o in overrides {
        let replacement = yaml(&o.value).map_err(|e| LoadError::Value {
            path: join_keys(&keys(&o.path)),
            message: e.to_string(),
        })?;
        set(&mut value, &o.path, replacement)?;
    }
    let (mut config, mut unknown): (BrokerConfig, _) = typed(&value)?;
    config.fit_into_memory_limit();
    unknown.sort_unstable();
    Ok(Loaded { config, unknown })
}

/// Reads a `T` from `value`. Returns it with the paths of the keys that it does not have.
///
/// # Errors
/// [`LoadError::Value`]: a value has the wrong type.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<(T, Vec<String>), LoadError> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| unknown.push(display_path(&path)));
    match read {
        Ok(read) => Ok((read, unknown)),
        Err(error) => {
            let error: serde_json::Error = error;
            Err(LoadError::Value { path: track.path().to_string(), message: error.to_string() })
        }
    }
}

fn yaml(text: &str) -> Result<Value, LoadError> {
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    let options = options! { budget: budget! { max_nodes: MAX_NODES, max_events: 2 * MAX_NODES } };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| LoadError::Yaml(e.to_string()))
}

/// Formats a path as in all messages, for example `channels[0].access`.
#[must_use]
pub fn display_path(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", display_path(parent)),
        Path::Map { parent, key } => match display_path(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => display_path(parent),
    }
}

/// Splits the path of an override into keys. Indices may be in brackets or between dots.
fn keys(path: &str) -> Vec<&str> {
    path.split('.').flat_map(|part| part.split('[').map(|key| key.trim_end_matches(']'))).collect()
}

/// Joins keys as in all messages.
fn join_keys(keys: &[&str]) -> String {
    let mut out = String::new();
    for key in keys {
        let index = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
        out += &match (index, out.is_empty()) {
            (true, _) => format!("[{key}]"),
            (false, true) => (*key).to_owned(),
            (false, false) => format!(".{key}"),
        };
    }
    out
}

fn set(root: &mut Value, path: &str, replacement: Value) -> Result<(), LoadError> {
    let keys = keys(path);
    let wrong =
        |message: &str| LoadError::Value { path: join_keys(&keys), message: message.into() };
    let mut at = root;
    for key in keys.iter().copied() {
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
        at = match at {
            Value::Object(map) => map.entry(key).or_insert(Value::Null),
            Value::Array(list) => key
                .parse::<usize>()
                .ok()
                .and_then(|i| list.get_mut(i))
                .ok_or_else(|| wrong("no such entry in the list"))?,
            _ => return Err(wrong("the parent is not a map or a list")),
        };
    }
    *at = replacement;
    Ok(())
}

/// Converts `SUBSCRIBERS_PER_ADDRESS` to `subscribersPerAddress`.
fn camel_case(name: &str) -> String {
    let mut words = name.split('_').map(str::to_lowercase);
    let mut out = words.next().unwrap_or_default();
    for word in words {
        let mut chars = word.chars();
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_win_over_the_file_and_later_ones_over_earlier_ones() {
        let file = "limits: {subscribers: 7}\nchannels: [{namespace: a, name: b}]\n";
        let env = Override::from_env("EVENTCAST__LIMITS__SUBSCRIBERS_PER_ADDRESS", "3").unwrap();
        let flags = [
            Override::from_flag("limits.subscribers=8").unwrap(),
            Override::from_flag("channels.0.delivery.heartbeatSeconds=2").unwrap(),
        ];
        let loaded = load(file, &[vec![env], flags.to_vec()].concat()).unwrap();
        assert_eq!(loaded.config.limits.subscribers, 8);
        assert_eq!(loaded.config.limits.subscribers_per_address, 3);
        assert_eq!(loaded.config.channels[0].delivery.heartbeat_seconds, 2);
        assert!(loaded.unknown.is_empty());
    }

    #[test]
    fn ten_thousand_channels_with_all_their_settings_are_read() {
        let channel = |n| crate::config::ChannelConfig::new("default", &format!("n{n}"));
        let config =
            BrokerConfig { channels: (0..10_000).map(channel).collect(), ..Default::default() };
        let file = serde_json::to_string(&config).unwrap();
        assert_eq!(load(&file, &[]).unwrap().config.channels.len(), 10_000);
    }

    #[test]
    fn a_wrong_type_is_an_error_with_the_path_of_its_key() {
        let file = "channels: [{namespace: a, name: b, delivery: {heartbeatSeconds: soon}}]";
        let error = load(file, &[]).unwrap_err().to_string();
        assert!(error.starts_with("channels[0].delivery.heartbeatSeconds: "), "{error}");
        let error = load("limits: {subscribers: -1}", &[]).unwrap_err().to_string();
        assert!(error.starts_with("limits.subscribers: "), "{error}");
    }

    #[test]
    fn unknown_keys_are_reported_with_their_paths() {
        let file = "colour: red\nchannels: [{namespace: a, name: b, access: {cookies: []}}]";
        assert_eq!(load(file, &[]).unwrap().unknown, ["channels[0].access.cookies", "colour"]);
    }

    #[test]
    fn every_message_formats_paths_the_same_way() {
        let file = "channels: [{namespace: a, name: b}]";
        let of = |flag: &str| load(file, &[Override::from_flag(flag).unwrap()]);
        for path in ["channels.0.access.cookies", "channels[0].access.cookies"] {
            assert_eq!(of(&format!("{path}=1")).unwrap().unknown, ["channels[0].access.cookies"]);
        }
        for (flag, error) in [
            ("channels.0.delivery.stallSeconds=soon", "channels[0].delivery.stallSeconds: "),
            ("channels[0].delivery.stallSeconds=soon", "channels[0].delivery.stallSeconds: "),
            ("channels.0.name.x=1", "channels[0].name.x: the parent is not a map or a list"),
            ("channels.7.name=b", "channels[7].name: no such entry in the list"),
            ("channels[7].name=b", "channels[7].name: no such entry in the list"),
            ("channels.0.name=[", "channels[0].name: "),
            ("channels.0.access.anonymous=[Nobody]", "channels[0].access.anonymous[0]: "),
        ] {
            let said = of(flag).unwrap_err().to_string();
            assert!(said.starts_with(error), "{flag}: {said}");
        }
        let env = Override::from_env("EVENTCAST__CHANNELS__0__COLOUR", "red").unwrap();
        assert_eq!(load(file, &[env]).unwrap().unknown, ["channels[0].colour"]);
        let nested = "channels: [{namespace: a, name: b, access: {tokens: [{issuer: i, audience: a, kez: 1}]}}]";
        assert_eq!(load(nested, &[]).unwrap().unknown, ["channels[0].access.tokens[0].kez"]);
    }

    #[test]
    fn text_that_is_not_yaml_is_an_error() {
        assert!(matches!(load("a: [", &[]), Err(LoadError::Yaml(_))));
        assert!(load("", &[]).is_ok(), "an empty file is all defaults");
    }
}
