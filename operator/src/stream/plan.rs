//! Decides what to do with a stream: compares the stream that exists with the one that the channel needs. Pure.

use async_nats::jetstream::stream::{Config, RetentionPolicy};

use crate::{channel::Channel, names::stream_metadata, status::reasons};

/// The channel that owns a stream, as the stream's metadata records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOwner {
    cluster: String,
    namespace: String,
    name: String,
    uid: String,
}

impl StreamOwner {
    /// `channel` in the Kubernetes cluster `cluster`.
    #[must_use]
    pub fn new(channel: &Channel, cluster: &str) -> Self {
        Self {
            cluster: cluster.into(),
            namespace: channel.namespace().to_owned(),
            name: channel.name().to_owned(),
            uid: channel.uid().to_owned(),
        }
    }

    /// Records this owner in the metadata of `config`.
    pub fn write_to(&self, config: &mut Config) {
        for (key, value) in [
            (stream_metadata::CLUSTER, &self.cluster),
            (stream_metadata::NAMESPACE, &self.namespace),
            (stream_metadata::NAME, &self.name),
            (stream_metadata::UID, &self.uid),
        ] {
            config.metadata.insert(key.to_owned(), value.clone());
        }
    }

    /// `None` if the operator did not create the stream.
    fn read_from(config: &Config) -> Option<Self> {
        let get = |key: &str| config.metadata.get(key).cloned();
        Some(Self {
            cluster: get(stream_metadata::CLUSTER)?,
            namespace: get(stream_metadata::NAMESPACE)?,
            name: get(stream_metadata::NAME)?,
            uid: get(stream_metadata::UID)?,
        })
    }

    /// Whether the stream belongs to a channel of this name. The uid may differ: a channel that was deleted and applied again keeps
    /// its stream.
    fn is_same_channel(&self, config: &Config) -> bool {
        Self::read_from(config).is_some_and(|o| {
            (&o.cluster, &o.namespace, &o.name) == (&self.cluster, &self.namespace, &self.name)
        })
    }

    /// Whether the stream belongs to this very object, by its uid.
    #[must_use]
    pub fn is_same_object(&self, config: &Config) -> bool {
        Self::read_from(config).as_ref() == Some(self)
    }
}

/// What to do with a stream.
#[derive(Debug)]
pub enum Plan {
    /// The stream matches the channel.
    Keep,
    /// The stream does not exist.
    Create,
    /// The stream differs from the channel.
    Update {
        /// The complete new configuration. Fields that the operator does not manage keep their values.
        config: Box<Config>,
        /// The fields that change, for people. Empty if only the owner's metadata changes.
        changes: String,
        /// Whether the stream belonged to somebody else.
        adopts: bool,
    },
    /// The stream must not or cannot be changed: reason and message of the condition.
    Reject(&'static str, String),
}

/// Compares the stream that exists with the one that the channel needs.
///
/// `is_deleted` says of another channel of this cluster, by namespace and name, whether it certainly no longer exists.
pub fn plan(
    observed: Option<&Config>,
    desired: &Config,
    owner: &StreamOwner,
    may_adopt: bool,
    is_deleted: impl Fn(&str, &str) -> bool,
) -> Plan {
    let Some(observed) = observed else {
        return Plan::Create;
    };
    let is_owned = owner.is_same_channel(observed);
    if !is_owned && let Some(reject) = check_adoption(observed, owner, may_adopt, is_deleted) {
        return reject;
    }
    if let Some(reject) = check_immutable(observed, desired) {
        return reject;
    }
    let mut config = observed.clone();
    let changes = sync(&mut config, desired, !is_owned);
    owner.write_to(&mut config);
    if changes.is_empty() && config == *observed {
        return Plan::Keep;
    }
    Plan::Update { config: Box::new(config), changes: changes.join(", "), adopts: !is_owned }
}

/// Rejects a stream that belongs to somebody else and must not be adopted.
fn check_adoption(
    observed: &Config,
    owner: &StreamOwner,
    may_adopt: bool,
    is_deleted: impl Fn(&str, &str) -> bool,
) -> Option<Plan> {
    let stream = &observed.name;
    let message = match StreamOwner::read_from(observed) {
        // Permission to create a channel must not give access to the events of another channel.
        Some(o) if o.cluster == owner.cluster && !is_deleted(&o.namespace, &o.name) => format!(
            "stream {stream} belongs to channel {}/{}: set another stream.name",
            o.namespace, o.name
        ),
        Some(o) if !may_adopt => format!(
            "stream {stream} belongs to channel {}/{} of cluster {}: to adopt it, set stream.adoptionPolicy: Adopt",
            o.namespace, o.name, o.cluster
        ),
        None if !may_adopt => format!(
            "stream {stream} exists and was not created by the operator: to adopt it, set stream.adoptionPolicy: Adopt"
        ),
        _ => return None,
    };
    Some(Plan::Reject(reasons::NOT_OWNED, message))
}

/// Rejects a difference that JetStream cannot change.
fn check_immutable(observed: &Config, desired: &Config) -> Option<Plan> {
    let stream = &observed.name;
    let reject = |what: &str| {
        let message = format!(
            "stream {stream} has {what}, which JetStream cannot change: stream and events are left as they are"
        );
        Some(Plan::Reject(reasons::IMMUTABLE, message))
    };
    if observed.storage != desired.storage {
        return reject(&format!("{:?} storage instead of {:?}", observed.storage, desired.storage));
    }
    if observed.retention != RetentionPolicy::Limits {
        return reject(&format!("the retention policy {:?} instead of Limits", observed.retention));
    }
    if observed.mirror.is_some() || observed.sealed {
        return reject("a mirror or a seal");
    }
    None
}

/// Copies the fields that the operator manages from `desired` to `config`, and describes each change. An adopted stream keeps
/// its own subjects besides ours, because other publishers use them.
fn sync(config: &mut Config, desired: &Config, adopts: bool) -> Vec<String> {
    let mut changes = Vec::new();
    macro_rules! sync_fields {
        ($($field:ident),*) => {$(
            if config.$field != desired.$field {
                changes.push(format!(
                    concat!(stringify!($field), " {:?} -> {:?}"), config.$field, desired.$field
                ));
                config.$field = desired.$field.clone();
            }
        )*};
    }
    sync_fields!(
        max_age,
        max_bytes,
        max_messages,
        max_message_size,
        num_replicas,
        duplicate_window,
        discard,
        allow_direct,
        allow_message_ttl
    );
    let is_missing = |subject: &&String| !config.subjects.contains(subject);
    let missing: Vec<_> = desired.subjects.iter().filter(is_missing).cloned().collect();
    let was_adopted = config.subjects.len() > desired.subjects.len();
    if !missing.is_empty() {
        changes.push(format!("subjects + {}", missing.join(" ")));
        if adopts || was_adopted {
            config.subjects.extend(missing);
        } else {
            config.subjects.clone_from(&desired.subjects);
        }
    }
    changes
}

/// A limitation of the stream that comes from its creation and that JetStream cannot change.
#[must_use]
pub fn limitation(config: &Config) -> Option<String> {
    config.deny_delete.then(|| {
        "it was created with deny_delete, so single events cannot be erased from it".to_owned()
    })
}

#[cfg(test)]
mod tests;
