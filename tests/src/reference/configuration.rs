//! The keys of the configuration of the broker, from their JSON Schema: one row a key, with default and meaning.

use serde_json::Value;

const PREAMBLE: &str = "# Configuration of the broker

One YAML file, given with `--config` or `EVENTCAST_CONFIG`; every key but `channels` has a default, and with `channelsFolder` that one too. Generated from the types in
`crds/src/config.rs` by `make docs`; [config.schema.json](config.schema.json) is the same as JSON Schema.

Flags of `run` (`--set limits.subscribersPerAddress=5`, `--listen`, `--admin`) override the environment
(`EVENTCAST__LIMITS__SUBSCRIBERS_PER_ADDRESS=5`), which overrides the file.
`eventcast-broker check --config FILE` reports every problem at once and exits with 64. It treats unknown keys as errors. A running broker only
logs and counts them (`eventcast_config_unknown_keys`), because its image may be older than the configuration.

When the file changes, the broker applies `log`, `channelList`, `limits`, `shutdown`, `query`, `balancing` and `channels` without a restart, except for `limits.connections`,
`limits.publishesInFlight`, `limits.bodyBytes`, `limits.bodyBytesPerAddress`, `query.concurrent` and `query.answerBytes`. Other changes need a
restart, and the broker logs a warning. A change of a channel's `stream`, `subjectPrefix`, `retention` or `publishing.maxEventBytes` reopens its
log: its subscribers are disconnected and reconnect. An invalid file is rejected as a whole, and the broker keeps the last valid one
(`eventcast_config_reloads_total`).

Channels can be in a folder besides (`channelsFolder`), in any number of JSON files: `{\"channels\": [{\"namespace\": \"shop\", \"name\": \"orders\"}]}`, with only the keys
that differ from their defaults. The broker looks at the folder each second and parses the files whose content has changed. A channel that cannot be used there is skipped,
and keeps its last valid configuration if it had one. So do the channels of a file that is missing or no JSON. `/state` on the admin port and the log say what is wrong
(`eventcast_config_rejected_channels`, `eventcast_config_file_problems`). Several files are replaced at once by a symbolic link to their folder, as the kubelet does.

A complete file. Without `access` the channel is closed:

```yaml
channels:
- namespace: default
  name: demo
  access:
    anonymous: [Subscribe, Publish]
    allowedOrigins: [\"http://localhost:3000\"]
```

";

/// The reference as Markdown, from the schema and the configuration that all defaults make.
#[must_use]
pub fn markdown(schema: &Value, defaults: &Value) -> String {
    let mut out = PREAMBLE.to_owned();
    out.push_str("| key | default | meaning |\n|---|---|---|\n");
    rows(schema, schema, defaults, "", &mut out);
    out
}

fn rows(root: &Value, at: &Value, defaults: &Value, path: &str, out: &mut String) {
    for (name, property) in at["properties"].as_object().into_iter().flatten() {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let meaning = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        let own = &defaults[name];
        let below = resolve(root, property);
        let item = resolve(root, &property["items"]);
        let split = below["properties"].is_object() || item["properties"].is_object();
        let shown = if split { String::new() } else { code(own) };
        out.push_str(&format!("| `{key}` | {shown} | {meaning} |\n"));
        if below["properties"].is_object() {
            rows(root, below, own, &key, out);
        }
        if item["properties"].is_object() {
            rows(root, item, &own[0], &format!("{key}[]"), out);
        }
    }
}

fn code(value: &Value) -> String {
    if value.is_null() { String::new() } else { format!("`{value}`") }
}

/// Follows a reference into the definitions, also that of a property that may be `null`.
fn resolve<'a>(root: &'a Value, at: &'a Value) -> &'a Value {
    let some = at["anyOf"].as_array().into_iter().flatten().find(|one| one["$ref"].is_string());
    let at = some.unwrap_or(at);
    match at["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => at,
    }
}
