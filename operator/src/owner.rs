//! What brokers and their objects belong to: a channel, or a pool. Pure.

use std::{collections::BTreeMap, fmt};

use eventcast_crds::{channel::EventChannel, pool::BrokerPool};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Resource, ResourceExt,
    core::{ApiResource, DynamicObject},
};

use crate::names;

/// Namespace and name of a channel.
pub type ChannelKey = (String, String);

/// The kinds of objects that brokers belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnerKind {
    /// An EventChannel with brokers of its own.
    Channel,
    /// A BrokerPool.
    Pool,
}

impl OwnerKind {
    /// As dynamic objects. The reconciliation parses them, so that one that cannot be parsed does not break the watch of all.
    #[must_use]
    pub fn resource(self) -> ApiResource {
        match self {
            Self::Channel => ApiResource::erase::<EventChannel>(&()),
            Self::Pool => ApiResource::erase::<BrokerPool>(&()),
        }
    }

    /// The `kind` of the API server.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "EventChannel",
            Self::Pool => "BrokerPool",
        }
    }

    /// Label of the objects, with the name of the owner.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Channel => names::CHANNEL_LABEL,
            Self::Pool => names::POOL_LABEL,
        }
    }
}

/// Kind, namespace and name of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerKey {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        match kind {
            OwnerKind::Channel => write!(f, "{namespace}/{name}"),
            OwnerKind::Pool => write!(f, "pool {namespace}/{name}"),
        }
    }
}

impl OwnerKey {
    /// The key of an object of this kind.
    #[must_use]
    pub fn of(kind: OwnerKind, object: &DynamicObject) -> Self {
        let namespace = object.namespace().unwrap_or_default();
        Self { kind, namespace, name: object.name_any() }
    }

    /// The owner that an object has, by its labels.
    #[must_use]
    pub fn of_labels<K: Resource>(object: &K) -> Option<Self> {
        let namespace = object.namespace()?;
        [OwnerKind::Channel, OwnerKind::Pool].into_iter().find_map(|kind| {
            let name = object.labels().get(kind.label())?.clone();
            Some(Self { kind, namespace: namespace.clone(), name })
        })
    }

    /// The key of a channel.
    #[must_use]
    pub fn channel((namespace, name): ChannelKey) -> Self {
        Self { kind: OwnerKind::Channel, namespace, name }
    }

    /// Name of the objects, of each kind one. Must never change: a new name orphans what was created under the old one.
    #[must_use]
    pub fn object_name(&self) -> String {
        let suffix = match self.kind {
            OwnerKind::Channel => "broker",
            OwnerKind::Pool => "pool",
        };
        format!("{}-{suffix}", self.name)
    }

    /// Labels that select the pods. Kubernetes does not allow a Deployment to change them.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        let component = match self.kind {
            OwnerKind::Channel => "broker",
            OwnerKind::Pool => "broker-pool",
        };
        let pairs =
            [("name", "eventcast-broker"), ("instance", &self.name), ("component", component)];
        pairs.into_iter().map(|(k, v)| (format!("app.kubernetes.io/{k}"), v.to_owned())).collect()
    }

    /// Labels of the objects and pods. No version label: it would restart every broker with each upgrade of the operator.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.insert("app.kubernetes.io/managed-by".into(), names::FIELD_MANAGER.into());
        labels.insert("app.kubernetes.io/part-of".into(), "eventcast".into());
        labels.insert(self.kind.label().into(), self.name.clone());
        labels
    }
}

/// The owner of brokers and objects.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Kind, namespace and name.
    pub key: OwnerKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The owner reference of every object.
    pub reference: OwnerReference,
}

impl Owner {
    /// The owner `object`, which is of the kind `kind`.
    #[must_use]
    pub fn new<K: Resource<DynamicType = ()>>(kind: OwnerKind, object: &K) -> Self {
        let meta = object.meta();
        let key = OwnerKey {
            kind,
            namespace: object.namespace().unwrap_or_default(),
            name: object.name_any(),
        };
        let reference = OwnerReference {
            // With foreground deletion the brokers are deleted before their owner.
            block_owner_deletion: Some(true),
            ..object.controller_owner_ref(&()).unwrap_or_default()
        };
        let uid = object.uid().unwrap_or_default();
        Self { key, uid, generation: meta.generation.unwrap_or_default(), reference }
    }
}
