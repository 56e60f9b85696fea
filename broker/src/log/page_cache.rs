//! The cache of pages: one for all channels, with a budget in bytes for all of them and one for each.
//!
//! A hit reads the cache and nothing else. Whoever changes it holds the books, so whenever those are free they list exactly
//! what is cached: a channel over its budget lets its own oldest pages go, and one that is closed all of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use eventcast_wire::cursor::Epoch;
use parking_lot::Mutex;
use prometheus::IntGauge;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use super::page::Page;

/// The cache is locked by parts of so many bytes at least: a page finds room in one of them, or nowhere.
const PART: u64 = 16 << 20;
/// What a page costs, for the number of pages to expect.
const USUAL: u64 = 64 << 10;

/// A page of one incarnation of one log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The log's shelf.
    pub(super) shelf: u64,
    pub(super) epoch: Epoch,
    /// An epoch may come back with an older copy of the store.
    pub(super) number: u64,
    pub(super) low: u64,
    pub(super) high: u64,
}

#[derive(Clone)]
struct Held {
    page: Arc<Page>,
    /// Counts what was cached: the page's place in its book.
    entry: u64,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Held> for Weight {
    fn weight(&self, _: &Key, held: &Held) -> u64 {
        held.page.weight()
    }
}

/// Hands over what was evicted, for the books, and to be freed without a lock.
#[derive(Clone)]
struct Evicted;

impl Lifecycle<Key, Held> for Evicted {
    type RequestState = Vec<(Key, Held)>;

    fn on_evict(&self, evicted: &mut Vec<(Key, Held)>, key: Key, held: Held) {
        evicted.push((key, held));
    }
}

/// What one shelf has in the cache.
struct Book {
    /// Oldest first.
    pages: BTreeMap<u64, Key>,
    bytes: u64,
    gauge: IntGauge,
}

impl Book {
    fn enter(&mut self, key: &Key, held: &Held) {
        self.pages.insert(held.entry, key.clone());
        self.bytes += held.page.weight();
        self.tell();
    }

    fn strike(&mut self, held: &Held) {
        if self.pages.remove(&held.entry).is_some() {
            self.bytes -= held.page.weight();
            self.tell();
        }
    }

    fn tell(&self) {
        self.gauge.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }
}

#[derive(Default)]
struct Books {
    open: HashMap<u64, Book>,
    shelves: u64,
    entries: u64,
}

/// Pages of all channels.
pub(crate) struct PageCache {
    cache: Cache<Key, Held, Weight, DefaultHashBuilder, Evicted>,
    /// Taken before the cache's own locks, never while one is held.
    books: Mutex<Books>,
    channel_bytes: u64,
    /// Bytes of the largest page worth a place.
    largest: u64,
}

impl PageCache {
    /// A cache that holds `bytes`, and of one channel `channel_bytes` at most.
    pub(crate) fn new(bytes: u64, channel_bytes: u64) -> Arc<Self> {
        let count = |n: u64, least: usize| usize::try_from(n).unwrap_or(least).max(least);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            .estimated_items_capacity(count(bytes / USUAL, 16))
            .shards(count(bytes / PART, 1).min(cores * 4))
            .build()
            .expect("capacities are given");
        let cache = Cache::with_options(options, Weight, DefaultHashBuilder::default(), Evicted);
        // The cache refuses what takes nearly all of a part: nothing should leave for it.
        let largest = channel_bytes.min(cache.shard_capacity() / 10 * 9);
        let channel_bytes = channel_bytes.min(bytes);
        Arc::new(Self { cache, books: Mutex::default(), channel_bytes, largest })
    }

    /// Bytes and pages held.
    pub(crate) fn size(&self) -> (u64, usize) {
        (self.cache.weight(), self.cache.len())
    }

    /// A place for the pages of one log; `gauge` tells their bytes.
    pub(super) fn shelf(self: &Arc<Self>, gauge: IntGauge) -> Shelf {
        let mut books = self.books.lock();
        books.shelves += 1;
        let number = books.shelves;
        let book = Book { pages: BTreeMap::new(), bytes: 0, gauge };
        book.tell();
        books.open.insert(number, book);
        drop(books);
        Shelf { number, cache: Arc::clone(self) }
    }
}

/// The pages of one log in the cache of all.
pub(super) struct Shelf {
    pub(super) number: u64,
    cache: Arc<PageCache>,
}

impl Shelf {
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Page>> {
        self.cache.cache.get(key).map(|held| held.page)
    }

    /// Caches a page of this log, unless it is too large, there already, or the shelf is closed.
    pub(super) fn put(&self, key: Key, page: Arc<Page>) {
        let PageCache { cache, books, channel_bytes, largest } = &*self.cache;
        let weight = page.weight();
        // Declared before the lock, so freed after it.
        let mut gone = Vec::new();
        let mut books = books.lock();
        books.entries += 1;
        let held = Held { page, entry: books.entries };
        let Some(book) = books.open.get_mut(&self.number) else {
            return;
        };
        if weight > *largest || cache.contains_key(&key) {
            return;
        }
        while book.bytes + weight > *channel_bytes {
            let oldest = book.pages.first_key_value().and_then(|(_, oldest)| cache.remove(oldest));
            let Some(oldest) = oldest else {
                break;
            };
            book.strike(&oldest.1);
            gone.push(oldest);
        }
        book.enter(&key, &held);
        let own = gone.len();
        cache.insert_with_lifecycle(key, held, &mut gone);
        for (key, held) in &gone[own..] {
            if let Some(book) = books.open.get_mut(&key.shelf) {
                book.strike(held);
            }
        }
    }

    /// Lets one page go.
    pub(super) fn remove(&self, key: &Key) {
        let mut books = self.cache.books.lock();
        let gone = self.cache.cache.remove(key);
        if let (Some(book), Some(page)) = (books.open.get_mut(&self.number), &gone) {
            book.strike(&page.1);
        }
    }

    /// Lets those pages of this log go that `is_stale` names, by their first sequence and what they hold.
    pub(super) fn forget(&self, is_stale: impl Fn(u64, &Page) -> bool) {
        let PageCache { cache, books, .. } = &*self.cache;
        let mut gone = Vec::new();
        let mut books = books.lock();
        let Some(book) = books.open.get_mut(&self.number) else {
            return;
        };
        let stale = |key: &&Key| cache.peek(*key).is_some_and(|held| is_stale(key.low, &held.page));
        let keys: Vec<_> = book.pages.values().filter(stale).cloned().collect();
        for key in keys {
            if let Some(page) = cache.remove(&key) {
                book.strike(&page.1);
                gone.push(page);
            }
        }
    }

    /// Lets every page of this log go, and takes no more.
    pub(super) fn close(&self) {
        let mut gone = Vec::new();
        let mut books = self.cache.books.lock();
        if let Some(mut book) = books.open.remove(&self.number) {
            gone.extend(book.pages.values().filter_map(|key| self.cache.cache.remove(key)));
            book.bytes = 0;
            book.tell();
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
