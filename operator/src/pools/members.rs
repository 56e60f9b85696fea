//! The channels of a pool, as entries of its files. A channel is parsed again only when it has changed: to parse ten thousand takes a second.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use eventcast_crds::{
    channel::{PAUSED_ANNOTATION, status::EventChannelStatus},
    config::ChannelConfig,
};
use jiff::Timestamp;
use kube::{ResourceExt, core::DynamicObject};
use serde_json::Value;

use super::admission::{self, Candidate};
use crate::{
    channel::Channel,
    kind::Kind,
    observe::{address::Addresses, delivery},
    owner::{ChannelKey, OwnerKey},
    placement::{Membership, PastPlacement, Place, membership},
    pool::Pool,
    pool_files,
    pool_views::Refusal,
    reconcile::{Context, Parsed, old_status, parse},
    scope::is_annotated,
    status::{conditions, has_reason, reasons},
};

/// What is known of channels.
#[derive(Default)]
pub(super) struct Members {
    /// The channels that were parsed, by uid.
    parsed: HashMap<String, Known>,
    /// The entries that the files had when the operator started: those of channels whose spec it cannot use stay.
    stored: HashMap<ChannelKey, Value>,
}

/// A channel that was parsed.
struct Known {
    /// What it was parsed from.
    version: Version,
    channel: Option<Arc<Channel>>,
}

/// A change of these makes another entry. The status changes more often.
#[derive(PartialEq, Eq)]
struct Version {
    generation: Option<i64>,
    annotations: BTreeMap<String, String>,
}

/// A channel that names a pool, or is served by it.
struct Related {
    key: ChannelKey,
    channel: Arc<Channel>,
    created: Option<Timestamp>,
    past: PastPlacement,
    wanted: Place,
}

/// The channels of a pool.
#[derive(Default)]
pub(super) struct Selection {
    /// The entries of the files.
    pub(super) entries: HashMap<ChannelKey, String>,
    /// The channels that the pool serves, with their generations. Those that leave are not among them.
    pub(super) served: HashMap<ChannelKey, i64>,
    pub(super) refused: HashMap<ChannelKey, Refusal>,
    /// URLs that brokers connect to.
    pub(super) connects_to: BTreeSet<String>,
    pub(super) probes: bool,
}

impl Members {
    /// Remembers the entries of files that an earlier operator has written.
    pub(super) fn remember<'a>(&mut self, texts: impl Iterator<Item = &'a str>) {
        for entry in texts.flat_map(pool_files::entries) {
            let key = ["namespace", "name"].map(|field| entry[field].as_str().map(str::to_owned));
            if let [Some(namespace), Some(name)] = key {
                self.stored.insert((namespace, name), entry);
            }
        }
    }

    /// The channels of `pool`. `accepts` says whether it accepts channels of a namespace.
    pub(super) fn select(
        &mut self,
        pool: &Pool,
        accepts: impl Fn(&str) -> bool,
        addresses: &Addresses,
        cluster_domain: &str,
        contexts: &[Arc<Context>],
        now: Timestamp,
    ) -> Selection {
        let key = &pool.workload.owner.key;
        let related: Vec<_> = contexts
            .iter()
            .flat_map(|ctx| {
                let channels = ctx.scope.channels.state();
                let related = channels.iter().filter_map(|raw| self.related(key, raw, ctx));
                related.collect::<Vec<_>>()
            })
            .collect();
        let candidates: Vec<_> = related
            .iter()
            .filter(|related| related.wanted.pool() == Some(key))
            .map(|related| Candidate {
                key: &related.key,
                spec: &related.channel.spec,
                created: related.created,
                is_served: related.past.current.as_ref() == Some(&related.wanted),
            })
            .collect();
        let name = format!("{}/{}", key.namespace, key.name);
        let max = pool.spec.channels.max;
        let mut refused =
            admission::refusals(&name, &pool.spec.exposure, max, accepts, &candidates);
        let drain = pool.drain();
        let mut selection = self.unusable(key, contexts);
        let mut bytes: HashMap<char, usize> = HashMap::new();
        for Related { key: channel_key, channel, past, wanted, .. } in &related {
            let is_admitted = !refused.contains_key(channel_key);
            let membership = membership(key, past, wanted, is_admitted, drain, now);
            if membership == Membership::No {
                continue;
            }
            let is_leaving = membership == Membership::Leaves;
            let config = configuration(channel, pool, addresses, cluster_domain);
            selection.probes |= config.probe.is_some();
            let generation = channel.workload.owner.generation;
            let entry = pool_files::entry(config, generation, &pool.spec.channels, is_leaving);
            let entry = entry.to_string();
            let used = bytes.entry(pool_files::shard_of(channel_key)).or_default();
            let more = entry.len() + 2;
            if *used + more > pool_files::MAX_SHARD_BYTES {
                let message = format!(
                    "the channels of BrokerPool {name} take too much room in a ConfigMap: choose another pool"
                );
                refused
                    .insert(channel_key.clone(), Refusal { reason: reasons::POOL_FULL, message });
                continue;
            }
            *used += more;
            selection.connects_to.extend(channel.workload.connects_to.iter().cloned());
            selection.entries.insert(channel_key.clone(), entry);
            if membership == Membership::Serves {
                selection.served.insert(channel_key.clone(), generation);
            }
        }
        selection.refused = refused;
        selection
    }

    /// The channels that the pool serves although the operator cannot use their specs: an upgrade may be stricter. Their entries stay.
    fn unusable(&self, pool: &OwnerKey, contexts: &[Arc<Context>]) -> Selection {
        let mut selection = Selection::default();
        for raw in contexts.iter().flat_map(|ctx| ctx.scope.channels.state()) {
            let known = raw.uid().and_then(|uid| self.parsed.get(&uid));
            let is_usable = known.is_none_or(|known| known.channel.is_some());
            if is_usable || raw.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let key = (raw.namespace().unwrap_or_default(), raw.name_any());
            let is_here = Place::new(old_status(&raw).pool.as_ref(), &key.0).pool() == Some(pool);
            if let Some(entry) = self.stored.get(&key).filter(|_| is_here) {
                let generation = entry["generation"].as_i64().unwrap_or_default();
                selection.served.insert(key.clone(), generation);
                selection.entries.insert(key, entry.to_string());
            }
        }
        selection
    }

    /// The channel `raw` if the pool has to do with it, and its stream belongs to it.
    fn related(&mut self, pool: &OwnerKey, raw: &DynamicObject, ctx: &Context) -> Option<Related> {
        let concerns = ["/spec/brokers/pool", "/status/pool", "/status/moved"];
        if concerns.iter().all(|path| raw.data.pointer(path).is_none())
            || raw.metadata.deletion_timestamp.is_some()
        {
            return None;
        }
        let status = old_status(raw);
        if !may_be_served(&status)
            || ctx.claims.other(&raw.metadata, status.operator.as_ref()).is_some()
        {
            return None;
        }
        let key = (raw.namespace().unwrap_or_default(), raw.name_any());
        let owner = OwnerKey::channel(key.clone());
        let deployment = ctx.scope.object(Kind::Deployment, &key.0, &owner.object_name());
        let past = PastPlacement::new(&status, &key, deployment.is_some());
        let channel = self.parsed(raw, ctx)?;
        let wanted = Place::new(channel.spec.brokers.pool.as_ref(), &key.0);
        let is_here = |place: &Place| place.pool() == Some(pool);
        let concerned = is_here(&wanted)
            || past.current.as_ref().is_some_and(is_here)
            || past.previous.as_ref().is_some_and(|(place, _)| is_here(place));
        let created = raw.metadata.creation_timestamp.as_ref().map(|time| time.0);
        concerned.then_some(Related { key, channel, created, past, wanted })
    }

    /// The channel of the newest valid spec.
    fn parsed(&mut self, raw: &DynamicObject, ctx: &Context) -> Option<Arc<Channel>> {
        let version =
            Version { generation: raw.metadata.generation, annotations: raw.annotations().clone() };
        let uid = raw.uid()?;
        let known = self.parsed.get(&uid);
        let is_paused = is_annotated(raw, PAUSED_ANNOTATION, "true");
        if let Some(known) = known.filter(|known| is_paused || known.version == version) {
            return known.channel.clone();
        }
        let new = match parse(raw) {
            Parsed::Channel { channel, .. } => Channel::new(&channel, &ctx.settings).ok(),
            Parsed::Unreadable(_) => None,
        };
        // An invalid spec does not end the service: the last valid one stays.
        let channel = new.map(Arc::new).or_else(|| known.and_then(|known| known.channel.clone()));
        self.parsed.insert(uid, Known { version, channel: channel.clone() });
        channel
    }

    /// Forgets channels that are gone.
    pub(super) fn forget_others(&mut self, contexts: &[Arc<Context>]) {
        if self.parsed.is_empty() {
            return;
        }
        let channels = contexts.iter().flat_map(|ctx| ctx.scope.channels.state());
        let all: HashSet<_> = channels.filter_map(|raw| raw.uid()).collect();
        self.parsed.retain(|uid, _| all.contains(uid));
    }
}

/// Whether the channel has a stream of its own: brokers would serve the events of another channel.
fn may_be_served(status: &EventChannelStatus) -> bool {
    status.stream.is_some() && !has_reason(status, conditions::STREAM_READY, reasons::NOT_OWNED)
}

/// The configuration of a channel that the pool serves.
fn configuration(
    channel: &Channel,
    pool: &Pool,
    addresses: &Addresses,
    cluster_domain: &str,
) -> ChannelConfig {
    let mut config = channel.config.clone();
    let own = Addresses::new(&channel.workload, &pool.spec.exposure, cluster_domain, None);
    let public = own.public.clone().or_else(|| addresses.public.clone());
    config.probe = delivery::probe_in_pool(channel, &Addresses { public, ..own });
    config
}
