//! A validated BrokerPool. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eventcast_crds::{
    channel::{access::AccessSpec, brokers::Resources},
    config::load::typed,
    pool::{BrokerPool, BrokerPoolSpec, FromNamespaces, status::BrokerPoolStatus},
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{ResourceExt, core::DynamicObject};
use serde_json::Value;

use crate::{
    broker_config,
    owner::{Owner, OwnerKind},
    settings::Settings,
    status::reasons,
    workload::{BrokersSpec, Workload, checked_template, with_spec_path},
};

/// Requests and limit of a broker of a pool that sets no resources: attached channels share an eighth of the memory for their newest events.
const DEFAULT_REQUESTS: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "512Mi")];
const DEFAULT_MEMORY_LIMIT: &str = "2Gi";
/// The largest batch that a channel may allow.
const LARGEST_BODY: usize = 64 << 20;

/// A BrokerPool whose spec is valid.
#[derive(Clone, Debug)]
pub struct Pool {
    /// The spec, with defaults.
    pub spec: BrokerPoolSpec,
    /// Its brokers.
    pub workload: Workload,
    /// Fields of the spec that this operator does not know.
    pub unknown: Vec<String>,
}

impl Pool {
    /// Parses and validates a stored object.
    ///
    /// # Errors
    /// The reason and the message of the condition `Accepted`.
    pub fn parse(raw: &DynamicObject, settings: &Settings) -> Result<Self, (&'static str, String)> {
        let spec = raw.data.get("spec").filter(|spec| !spec.is_null());
        let (spec, unknown): (BrokerPoolSpec, _) = match spec.map(typed).transpose() {
            Ok(spec) => spec.unwrap_or_default(),
            Err(error) => {
                let message = format!(
                    "this operator cannot parse the spec (spec.{error}): correct the spec, or upgrade the operator"
                );
                return Err((reasons::UNREADABLE, message));
            }
        };
        let mut pool = BrokerPool::new("", spec);
        pool.metadata = raw.metadata.clone();
        let unknown = unknown.iter().map(|path| format!("spec.{path}")).collect();
        Self::new(&pool, unknown, settings)
            .map_err(|problems| (reasons::INVALID_SPEC, problems.join("; ")))
    }

    fn new(
        pool: &BrokerPool,
        unknown: Vec<String>,
        settings: &Settings,
    ) -> Result<Self, Vec<String>> {
        let mut spec = pool.spec.clone();
        spec.brokers.resources.get_or_insert_with(default_resources);
        let mut problems = Vec::new();
        let of_brokers =
            BrokersSpec { brokers: &spec.brokers, exposure: &spec.exposure, limits: &spec.limits };
        let pod_template = checked_template(of_brokers, settings, &mut problems);
        // All channels of one namespace may be known there.
        let lists_channels = spec.channels.namespaces.from == FromNamespaces::Same;
        let config =
            broker_config::of_pool(of_brokers, lists_channels, pod_template.as_ref(), settings);
        problems.extend(config.problems().iter().map(|p| with_spec_path(&p.to_string())));
        if !problems.is_empty() {
            return Err(problems);
        }
        let workload = Workload {
            owner: Owner::new(OwnerKind::Pool, pool),
            brokers: spec.brokers.clone(),
            exposure: spec.exposure.clone(),
            access: AccessSpec::default(),
            config,
            pod_template,
            labels: settings.brokers.labels_for(pool.labels()),
            annotations: settings.brokers.annotations_for(pool.annotations()),
            path: "/channels".into(),
            largest_body: LARGEST_BODY,
            connects_to: BTreeSet::new(),
            probes: false,
        };
        Ok(Self { spec, workload, unknown })
    }

    /// How long the brokers take to close their streams.
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.workload.config.shutdown.drain_seconds)
    }
}

/// The stored status. A status that cannot be parsed counts as empty.
#[must_use]
pub fn old_status(raw: &DynamicObject) -> BrokerPoolStatus {
    let status = raw.data.get("status").cloned().unwrap_or(Value::Null);
    serde_json::from_value(status).unwrap_or_default()
}

fn default_resources() -> Resources {
    let quantity = |(name, amount): (&str, &str)| (name.to_owned(), Quantity(amount.to_owned()));
    Resources {
        requests: DEFAULT_REQUESTS.into_iter().map(quantity).collect(),
        limits: BTreeMap::from([quantity(("memory", DEFAULT_MEMORY_LIMIT))]),
    }
}
