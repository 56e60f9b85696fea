//! What is to be done about a stream. Pure.

use async_nats::jetstream::stream::{Config, RetentionPolicy};

use crate::{channel::Channel, names::mark, status::reasons};

/// Whose a stream is: written into its metadata when it is created or adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    cluster: String,
    namespace: String,
    name: String,
    uid: String,
}

impl Mark {
    /// The mark of `channel` in `cluster`.
    #[must_use]
    pub fn of(channel: &Channel, cluster: &str) -> Self {
        Self {
            cluster: cluster.into(),
            namespace: channel.namespace.clone(),
            name: channel.name.clone(),
            uid: channel.uid.clone(),
        }
    }

    /// Writes it on `config`.
    pub fn put(&self, config: &mut Config) {
        for (key, value) in [
            (mark::CLUSTER, &self.cluster),
            (mark::NAMESPACE, &self.namespace),
            (mark::NAME, &self.name),
            (mark::UID, &self.uid),
        ] {
            config.metadata.insert(key.to_owned(), value.clone());
        }
    }

    fn read(config: &Config) -> Option<Self> {
        let get = |key: &str| config.metadata.get(key).cloned();
        Some(Self {
            cluster: get(mark::CLUSTER)?,
            namespace: get(mark::NAMESPACE)?,
            name: get(mark::NAME)?,
            uid: get(mark::UID)?,
        })
    }

    /// Whether `config` is of the same channel. The uid may be an older one's: a channel that was deleted and applied again finds
    /// its stream.
    fn is_on(&self, config: &Config) -> bool {
        Self::read(config).is_some_and(|m| {
            (&m.cluster, &m.namespace, &m.name) == (&self.cluster, &self.namespace, &self.name)
        })
    }

    /// Whether `config` is of this very object.
    #[must_use]
    pub fn is_exactly_on(&self, config: &Config) -> bool {
        Self::read(config).as_ref() == Some(self)
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Plan {
    /// Nothing.
    Keep,
    /// There is none.
    Create,
    /// It differs.
    Update {
        /// Everything that the stream is to be: what is not ours is as it was.
        config: Box<Config>,
        /// What differs, in words; empty where only the mark does.
        changes: String,
        /// Whether it was somebody else's.
        adopts: bool,
    },
    /// It must not, or cannot, be done: reason and words.
    Refuse(&'static str, String),
}

/// Compares what is with what should be. `is_gone` tells of another channel of this cluster whether it is certainly not there any
/// more.
pub fn plan(
    observed: Option<&Config>,
    wanted: &Config,
    mark: &Mark,
    adopt: bool,
    is_gone: impl Fn(&str, &str) -> bool,
) -> Plan {
    let Some(observed) = observed else {
        return Plan::Create;
    };
    let ours = mark.is_on(observed);
    if !ours && let Some(refusal) = refuse_foreign(observed, mark, adopt, is_gone) {
        return refusal;
    }
    if let Some(refusal) = refuse_immutable(observed, wanted) {
        return refusal;
    }
    let mut config = observed.clone();
    let changes = bring(&mut config, wanted, !ours);
    mark.put(&mut config);
    if changes.is_empty() && config == *observed {
        return Plan::Keep;
    }
    Plan::Update { config: Box::new(config), changes: changes.join(", "), adopts: !ours }
}

fn refuse_foreign(
    observed: &Config,
    mark: &Mark,
    adopt: bool,
    is_gone: impl Fn(&str, &str) -> bool,
) -> Option<Plan> {
    let stream = &observed.name;
    let message = match Mark::read(observed) {
        // Whoever may create a channel must not be able to take the events of another one.
        Some(m) if m.cluster == mark.cluster && !is_gone(&m.namespace, &m.name) => format!(
            "the stream {stream} belongs to the channel {}/{}: choose another stream.name",
            m.namespace, m.name
        ),
        Some(m) if !adopt => format!(
            "the stream {stream} belongs to {}/{} of the cluster {}: to take it over set stream.adoptionPolicy: Adopt",
            m.namespace, m.name, m.cluster
        ),
        None if !adopt => format!(
            "there is a stream {stream} that the operator did not create: to take it over set stream.adoptionPolicy: Adopt"
        ),
        _ => return None,
    };
    Some(Plan::Refuse(reasons::NOT_OWNED, message))
}

fn refuse_immutable(observed: &Config, wanted: &Config) -> Option<Plan> {
    let stream = &observed.name;
    let refuse = |what: &str| {
        let message = format!(
            "the stream {stream} has {what}, which JetStream cannot change: its data is not touched"
        );
        Some(Plan::Refuse(reasons::IMMUTABLE, message))
    };
    if observed.storage != wanted.storage {
        return refuse(&format!("{:?} storage instead of {:?}", observed.storage, wanted.storage));
    }
    if observed.retention != RetentionPolicy::Limits {
        return refuse(&format!("the retention policy {:?} instead of Limits", observed.retention));
    }
    if observed.mirror.is_some() || observed.sealed {
        return refuse("a mirror or a seal");
    }
    None
}

/// Sets on `config` what is ours, and tells what that changed. Subjects of a stream that is adopted stay beside ours: somebody
/// publishes to them.
fn bring(config: &mut Config, wanted: &Config, adopts: bool) -> Vec<String> {
    let mut changes = Vec::new();
    macro_rules! bring {
        ($($field:ident),*) => {$(
            if config.$field != wanted.$field {
                changes.push(format!(
                    concat!(stringify!($field), " {:?} -> {:?}"), config.$field, wanted.$field
                ));
                config.$field = wanted.$field.clone();
            }
        )*};
    }
    bring!(
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
    let missing = |config: &Config| {
        let lacks = |s: &&String| !config.subjects.contains(s);
        wanted.subjects.iter().filter(lacks).cloned().collect::<Vec<_>>()
    };
    let (lacking, adopted) = (missing(config), config.subjects.len() > wanted.subjects.len());
    if !lacking.is_empty() {
        changes.push(format!("subjects + {}", lacking.join(" ")));
        if adopts || adopted {
            config.subjects.extend(lacking);
        } else {
            config.subjects.clone_from(&wanted.subjects);
        }
    }
    changes
}

/// What a stream cannot do because of how it was created, and JetStream cannot change.
#[must_use]
pub fn note(config: &Config) -> Option<String> {
    config.deny_delete.then(|| {
        "it was created with deny_delete, so single events cannot be erased from it".to_owned()
    })
}

#[cfg(test)]
mod tests;
