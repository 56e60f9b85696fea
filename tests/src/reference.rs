//! The reference of the configuration, from its JSON Schema: one row a key, with default and meaning. Pure.

use serde_json::Value;

const HEAD: &str = "# Configuration of the broker

One YAML file, given with `--config` or `EVENTCAST_CONFIG`; every key but `channels` has a default. Generated from the types in
`crds/src/config.rs` by `make docs`; [config.schema.json](config.schema.json) is the same as JSON Schema.

A value comes from the file, then the environment (`EVENTCAST__LIMITS__SUBSCRIBERS_PER_ADDRESS=5` sets
`limits.subscribersPerAddress`), then flags (`--set limits.subscribersPerAddress=5`, `--listen`, `--admin`); later ones win.
`eventcast-broker check --config FILE` tells every problem at once, unknown keys included, and exits 64; a running broker only warns of
unknown keys and counts them (`eventcast_config_unknown_keys`), because images can be pinned.

`limits`, `shutdown`, `query` and `channels` are read again when the file changes, without a restart (but `limits.connections`,
`limits.publishesInFlight`, `limits.bodyBytes`, `limits.bodyBytesPerAddress`, `query.concurrent` and `query.answerBytes`); the rest needs one, and the broker says so. A change of a channel's `stream`, `subjectPrefix`, `retention` or
`publishing.maxEventBytes` opens its log anew: its subscribers are closed and come back. A file that cannot be used is refused as a whole, and the
last good one stays (`eventcast_config_reloads_total`).

A complete file:

```yaml
channels:
  - {namespace: default, name: demo}
```

";

/// The reference as Markdown, from the schema and the configuration that all defaults make.
#[must_use]
pub fn markdown(schema: &Value, defaults: &Value) -> String {
    let mut out = HEAD.to_owned();
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

/// Follows a reference into the definitions.
fn resolve<'a>(root: &'a Value, at: &'a Value) -> &'a Value {
    match at["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => at,
    }
}
