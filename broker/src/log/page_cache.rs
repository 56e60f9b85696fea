//! The page cache: one for all channels, with a byte budget for all of them together and one for each.
//!
//! A hit only reads the cache. Everything that changes the cache holds the lock of the usage accounts, so while that lock is free,
//! the accounts list exactly what is cached. A channel over its budget evicts its own oldest pages; a channel that is closed
//! evicts all of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use eventcast_wire::cursor::Epoch;
use parking_lot::Mutex;
use prometheus::IntGauge;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::page::Page;

/// Bytes of a shard of the cache, at least. A page must fit into one shard.
const MIN_SHARD_BYTES: u64 = 16 << 20;
/// Bytes of a typical page: how many pages the cache should expect.
const TYPICAL_PAGE_BYTES: u64 = 64 << 10;

/// The key of a page of one incarnation of one log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The number of its [`ChannelPages`].
    pub(super) channel: u64,
    pub(super) epoch: Epoch,
    /// The number of the incarnation: a restored copy of the stream may have the same epoch.
    pub(super) number: u64,
    pub(super) low: u64,
    pub(super) high: u64,
}

#[derive(Clone)]
struct CachedPage {
    page: Arc<Page>,
    /// Increases with every page that is cached: the key of this page in its [`Usage`].
    age: u64,
}

#[derive(Clone)]
struct PageWeighter;

impl Weighter<Key, CachedPage> for PageWeighter {
    fn weight(&self, _: &Key, cached: &CachedPage) -> u64 {
        cached.page.weight()
    }
}

/// Collects what the cache evicts, to account for it, and to free it without holding a lock.
#[derive(Clone)]
struct CollectEvicted;

impl Lifecycle<Key, CachedPage> for CollectEvicted {
    type RequestState = Vec<(Key, CachedPage)>;

    fn on_evict(&self, evicted: &mut Vec<(Key, CachedPage)>, key: Key, cached: CachedPage) {
        evicted.push((key, cached));
    }
}

/// What one channel has in the cache.
struct Usage {
    /// By age, oldest first.
    pages: BTreeMap<u64, Key>,
    bytes: u64,
    gauge: IntGauge,
}

impl Usage {
    fn add(&mut self, key: &Key, cached: &CachedPage) {
        self.pages.insert(cached.age, key.clone());
        self.bytes += cached.page.weight();
        self.update_gauge();
    }

    fn release(&mut self, cached: &CachedPage) {
        if self.pages.remove(&cached.age).is_some() {
            self.bytes -= cached.page.weight();
            self.update_gauge();
        }
    }

    fn update_gauge(&self) {
        self.gauge.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

/// The usage of all channels that are open.
#[derive(Default)]
struct Usages {
    channels: HashMap<u64, Usage>,
    last_channel: u64,
    last_age: u64,
}

/// Pages of all channels.
pub(crate) struct PageCache {
    cache: Cache<Key, CachedPage, PageWeighter, DefaultHashBuilder, CollectEvicted>,
    /// Locked before the cache's own locks, never while one of them is held.
    usages: Mutex<Usages>,
    channel_bytes: u64,
    /// Bytes of the largest page that is cached.
    max_page_bytes: u64,
}

impl PageCache {
    /// A cache of `bytes`, of which one channel uses at most `channel_bytes`.
    pub(crate) fn new(bytes: u64, channel_bytes: u64) -> Arc<Self> {
        let count = |n: u64, least: usize| usize::try_from(n).unwrap_or(least).max(least);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            .estimated_items_capacity(count(bytes / TYPICAL_PAGE_BYTES, 16))
            .shards(count(bytes / MIN_SHARD_BYTES, 1).min(cores * 4))
            .build()
            .expect("capacities are given");
        let hasher = DefaultHashBuilder::default();
        let cache = Cache::with_options(options, PageWeighter, hasher, CollectEvicted);
        // The cache rejects an entry that takes nearly a whole shard. Nothing should be evicted for such a page.
        let max_page_bytes = channel_bytes.min(cache.shard_capacity() / 10 * 9);
        let channel_bytes = channel_bytes.min(bytes);
        Arc::new(Self { cache, usages: Mutex::default(), channel_bytes, max_page_bytes })
    }

    /// Bytes and pages held.
    pub(crate) fn size(&self) -> (u64, usize) {
        (self.cache.weight(), self.cache.len())
    }

    /// Registers a log, whose pages are accounted for separately; `gauge` shows their bytes.
    pub(super) fn channel(self: &Arc<Self>, gauge: IntGauge) -> ChannelPages {
        let mut usages = self.usages.lock();
        usages.last_channel += 1;
        let number = usages.last_channel;
        let usage = Usage { pages: BTreeMap::new(), bytes: 0, gauge };
        usage.update_gauge();
        usages.channels.insert(number, usage);
        drop(usages);
        ChannelPages { number, cache: Arc::clone(self) }
    }

    /// Evicts one page, and accounts for it.
    fn evict(&self, usage: &mut Usage, key: &Key) -> Option<(Key, CachedPage)> {
        let (key, cached) = self.cache.remove(key)?;
        usage.release(&cached);
        Some((key, cached))
    }
}

/// The pages of one log in the [`PageCache`].
pub(super) struct ChannelPages {
    pub(super) number: u64,
    cache: Arc<PageCache>,
}

impl ChannelPages {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Page>> {
        self.cache.cache.get(key).map(|cached| cached.page)
    }

    /// Caches a page of this log, unless it is too large or cached already, or the log is closed.
    pub(super) fn put(&self, key: Key, page: Arc<Page>) {
        let PageCache { cache, channel_bytes, max_page_bytes, .. } = &*self.cache;
        let weight = page.weight();
        // Declared before the lock, so dropped after it.
        let mut evicted = Vec::new();
        let mut usages = self.cache.usages.lock();
        usages.last_age += 1;
        let cached = CachedPage { page, age: usages.last_age };
        let Some(usage) = usages.channels.get_mut(&self.number) else {
            return;
        };
        if weight > *max_page_bytes || cache.contains_key(&key) {
            return;
        }
        while usage.bytes + weight > *channel_bytes {
            let oldest = usage.pages.first_key_value().map(|(_, key)| key.clone());
            let Some(oldest) = oldest.and_then(|key| self.cache.evict(usage, &key)) else {
                break;
            };
            evicted.push(oldest);
        }
        usage.add(&key, &cached);
        let accounted = evicted.len();
        cache.insert_with_lifecycle(key, cached, &mut evicted);
        for (key, cached) in &evicted[accounted..] {
            if let Some(usage) = usages.channels.get_mut(&key.channel) {
                usage.release(cached);
            }
        }
    }

    /// Shows the bytes of these pages in `gauge` from now on.
    pub(super) fn use_gauge(&self, gauge: IntGauge) {
        if let Some(usage) = self.cache.usages.lock().channels.get_mut(&self.number) {
            usage.gauge = gauge;
            usage.update_gauge();
        }
    }

    /// Evicts one page.
    pub(super) fn remove(&self, key: &Key) {
        self.evict_all(|_| vec![key.clone()]);
    }

    /// Evicts the pages for which `is_stale` holds, given their first sequence and their content.
    pub(super) fn remove_if(&self, is_stale: impl Fn(u64, &Page) -> bool) {
        let stale = |key: &&Key| {
            self.cache.cache.peek(*key).is_some_and(|cached| is_stale(key.low, &cached.page))
        };
        self.evict_all(|usage| usage.pages.values().filter(stale).cloned().collect());
    }

    /// Evicts the pages of this log that `select` names.
    fn evict_all(&self, select: impl FnOnce(&Usage) -> Vec<Key>) {
        // Declared before the lock, so dropped after it.
        let mut evicted = Vec::new();
        let mut usages = self.cache.usages.lock();
        if let Some(usage) = usages.channels.get_mut(&self.number) {
            let keys = select(usage);
            evicted.extend(keys.iter().filter_map(|key| self.cache.evict(usage, key)));
        }
    }

    /// Evicts every page of this log and caches no more.
    pub(super) fn close(&self) {
        // Declared before the lock, so dropped after it.
        let mut evicted = Vec::new();
        let mut usages = self.cache.usages.lock();
        if let Some(mut usage) = usages.channels.remove(&self.number) {
            let keys: Vec<_> = usage.pages.values().cloned().collect();
            evicted.extend(keys.iter().filter_map(|key| self.cache.evict(&mut usage, key)));
        }
    }
}

impl Drop for ChannelPages {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
