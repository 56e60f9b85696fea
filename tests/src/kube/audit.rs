//! The audit log of an API server: which user requested what, and the response.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// An answered request. Fields that it does not have are empty.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AuditEvent {
    /// User: `admin`, `system:serviceaccount:<namespace>:<name>`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// API group; empty for the core group and where nothing of the API was asked for.
    pub group: String,
    /// `deployments`.
    pub resource: String,
    /// `status`, `scale`.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name; empty for lists, watches and created objects whose name is in the body.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u16,
}

/// All complete lines of a log. One that does not exist is empty: nothing was asked yet.
pub(super) fn read(file: &Path) -> Result<Vec<AuditEvent>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("failed to read the audit log"),
    };
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<AuditEvent>> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut events = Vec::new();
    for line in complete.lines() {
        let event: Value = serde_json::from_str(line).context("not an audit event")?;
        if event["stage"] == "ResponseComplete" {
            events.push(AuditEvent::of(&event));
        }
    }
    Ok(events)
}

impl AuditEvent {
    fn of(event: &Value) -> Self {
        let text = |pointer: &str| {
            event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let code = event.pointer("/responseStatus/code").and_then(Value::as_u64);
        Self {
            user: text("/user/username"),
            verb: text("/verb"),
            group: text("/objectRef/apiGroup"),
            resource: text("/objectRef/resource"),
            subresource: text("/objectRef/subresource"),
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            code: code.and_then(|code| code.try_into().ok()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_being_written_is_left_for_later() {
        let line = r#"{"stage":"ResponseComplete","verb":"patch","user":{"username":"admin"},
            "objectRef":{"apiGroup":"apps","resource":"deployments","subresource":"scale",
            "namespace":"a","name":"b"},"responseStatus":{"code":200}}"#;
        let line = line.replace('\n', "");
        let started = line.replace("ResponseComplete", "ResponseStarted");
        let events = parse(&format!("{started}\n{line}\n{}", &line[..40])).unwrap();
        let [event] = &events[..] else { panic!("{events:?}") };
        assert_eq!((event.user.as_str(), event.verb.as_str(), event.code), ("admin", "patch", 200));
        assert_eq!((event.group.as_str(), event.resource.as_str()), ("apps", "deployments"));
        assert_eq!((event.namespace.as_str(), event.name.as_str()), ("a", "b"));
        assert_eq!(event.subresource, "scale");
    }
}
