//! Removes credentials from what goes into a report. Pure.
//!
//! Objects, logs and metrics of Eventcast have none by design. This is for what people put where it does not belong: values of environment
//! variables, URLs with passwords, tokens in annotations and messages.

use serde_json::{Map, Value};

/// What stands where something was removed.
const REMOVED: &str = "(removed)";
/// What `kubectl apply` keeps: the object as it was written, with everything in it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The beginnings of API keys and tickets.
const PREFIXES: [&str; 2] = ["evk_", "evt_"];
/// Words whose successor is a credential.
const SCHEMES: [&str; 2] = ["bearer", "basic"];
/// Names whose value is a credential: `password=x`, `"token": "x"`.
const NAMES: [&str; 13] = [
    "password",
    "passwd",
    "pass",
    "token",
    "ticket",
    "secret",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "cookie",
    "access_token",
    "client_secret",
];
/// The private fields of a JSON Web Key.
const JWK_FIELDS: [&str; 7] = ["k", "d", "p", "q", "dp", "dq", "qi"];

/// An object of Kubernetes, or any other JSON.
pub(crate) fn value(value: &mut Value) {
    match value {
        Value::Object(fields) => object(fields),
        Value::Array(values) => values.iter_mut().for_each(self::value),
        Value::String(string) => *string = text(string),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(fields: &mut Map<String, Value>) {
    fields.remove("managedFields");
    fields.remove(LAST_APPLIED);
    if fields.get("kind").is_some_and(|kind| kind == "Secret") {
        fields.remove("data");
        fields.remove("stringData");
    }
    let is_jwk = fields.contains_key("kty");
    for (name, field) in fields {
        let is_private = is_jwk && JWK_FIELDS.contains(&name.as_str());
        match field {
            Value::String(string) if is_private || is_credential(name) => *string = REMOVED.into(),
            // Variables: names say enough, and values may come from anywhere.
            Value::Array(variables) if name == "env" => variables.iter_mut().for_each(variable),
            field => value(field),
        }
    }
}

fn variable(variable: &mut Value) {
    match variable.get_mut("value") {
        Some(text) => *text = REMOVED.into(),
        None => value(variable),
    }
}

fn is_credential(name: &str) -> bool {
    NAMES.contains(&name.to_ascii_lowercase().as_str())
}

/// Lines of a log, a message, a URL.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut is_next) = (text, false);
    while !rest.is_empty() {
        let end = rest.find(is_separator).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let separators = after.find(|c| !is_separator(c)).unwrap_or(after.len());
        let (separator, after) = after.split_at(separators);
        if word.is_empty() {
            out.push_str(separator);
        } else if is_next || is_token(word) {
            out.push_str(REMOVED);
            out.push_str(separator);
        } else {
            out.push_str(&without_password(word));
            out.push_str(separator);
        }
        if !word.is_empty() {
            let lower = word.to_ascii_lowercase();
            let is_name = is_credential(&lower) && separator.contains([':', '=']);
            // `Authorization: Bearer x`: the scheme is no credential, what follows is.
            let is_scheme = SCHEMES.contains(&lower.as_str()) && separator.starts_with(' ');
            if is_next && SCHEMES.contains(&lower.as_str()) {
                is_next = true;
            } else {
                is_next = is_name || is_scheme;
            }
        }
        rest = after;
    }
    out
}

/// What words are separated by. Characters of base64, of URLs and of names belong to words.
fn is_separator(character: char) -> bool {
    character.is_whitespace() || "\"'`,;=:&?<>()[]{}|\\".contains(character)
}

fn is_token(word: &str) -> bool {
    let is_jwt = word.starts_with("eyJ") && word.matches('.').count() >= 2;
    is_jwt
        || PREFIXES.iter().any(|prefix| word.starts_with(prefix) && word.len() > prefix.len() + 8)
}

/// `//user:password@host` is two words here, `//user` and `password@host`.
fn without_password(word: &str) -> String {
    match word.rsplit_once('@') {
        Some((_, host)) if !word.starts_with('@') && !host.is_empty() => {
            format!("{REMOVED}@{host}")
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_are_removed_from_text() {
        for (given, wanted) in [
            ("GET /events?ticket=abc&topic=a", "GET /events?ticket=(removed)&topic=a"),
            ("Authorization: Bearer s3cr3t, x", "Authorization: (removed) (removed), x"),
            ("sent Bearer s3cr3t", "sent Bearer (removed)"),
            ("a key evk_shop_0123456789 here", "a key (removed) here"),
            ("evt_AAAABBBBCCCC", "(removed)"),
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is", "token (removed) is"),
            ("nats://user:pass@nats:4222", "nats://user:(removed)@nats:4222"),
            ("https://user@host/x", "https:(removed)@host/x"),
            (r#"{"password":"x y","a":1}"#, r#"{"password":"(removed) y","a":1}"#),
            ("", ""),
        ] {
            assert_eq!(text(given), wanted, "{given}");
        }
        let harmless = r#"{"message":"reattaching the tail consumer","token_file":"/x","reason":"silence"} grüße @ 12:00"#;
        assert_eq!(text(harmless), harmless);
    }

    #[test]
    fn credentials_are_removed_from_objects() {
        let mut object = json!({
            "kind": "Pod",
            "metadata": {"managedFields": [1], "annotations": {LAST_APPLIED: "s3cr3t", "a": "evk_x_0123456789"}},
            "spec": {"containers": [{"env": [{"name": "A", "value": "s3cr3t"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "n"}}}]}]},
            "keys": {"kty": "oct", "k": "s3cr3t", "kid": "1"},
            "auth": {"Password": "s3cr3t", "passwordFile": "/p"},
        });
        value(&mut object);
        let shown = object.to_string();
        assert!(!shown.contains("s3cr3t") && !shown.contains("evk_"), "{shown}");
        for kept in ["secretKeyRef", "\"kid\":\"1\"", "passwordFile"] {
            assert!(shown.contains(kept), "no {kept}: {shown}");
        }
        let mut secret = json!({"kind": "Secret", "data": {"a": "eA=="}, "stringData": {"a": "x"}});
        value(&mut secret);
        assert_eq!(secret, json!({"kind": "Secret"}));
    }

    proptest! {
        #[test]
        fn no_token_survives(before in "[ -~]{0,40}", after in "[ -~]{0,40}") {
            for token in ["evk_shop_SECRETSECRETSECRET", "evt_SECRETSECRETSECRET", "eyJSECRETSECRET.eyJSECRET.SECRET"] {
                let shown = text(&format!("{before} {token} {after}"));
                prop_assert!(!shown.contains(token), "{shown}");
            }
        }
    }
}
