use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1 << 10;

fn key(channel: &ChannelPages, page: u64) -> Key {
    let low = page * 256;
    Key { channel: channel.number, epoch: Epoch::mint(7), number: 1, low, high: low + 255 }
}

fn put(channel: &ChannelPages, page: u64, weight: u64) {
    let key = key(channel, page);
    channel.put(key.clone(), Arc::new(Page::of_weight(key.low, key.high, weight)));
}

fn gauge() -> IntGauge {
    IntGauge::new("bytes", "bytes").unwrap()
}

/// Number and weight of each page that `channel` has in the cache.
fn cached(channel: &ChannelPages) -> BTreeMap<u64, u64> {
    let all = channel.cache.cache.iter().filter(|(key, _)| key.channel == channel.number);
    all.map(|(key, cached)| (key.low / 256, cached.page.weight())).collect()
}

/// Asserts that the accounts list exactly what is cached, and that all of it is within the budgets.
fn assert_exact(cache: &PageCache, channels: &[(ChannelPages, IntGauge)]) {
    let usages = cache.usages.lock();
    let mut pages = 0;
    for (channel, gauge) in channels {
        let cached = cached(channel);
        let bytes: u64 = cached.values().sum();
        pages += cached.len();
        assert!(bytes <= cache.channel_bytes, "{bytes} of {}", cache.channel_bytes);
        assert_eq!(u64::try_from(gauge.get()).unwrap(), bytes);
        match usages.channels.get(&channel.number) {
            Some(usage) => {
                assert_eq!(usage.bytes, bytes);
                let mut accounted: Vec<_> = usage.pages.values().map(|key| key.low / 256).collect();
                accounted.sort_unstable();
                assert_eq!(accounted, cached.into_keys().collect::<Vec<_>>());
            }
            None => assert!(cached.is_empty(), "closed, but cached: {cached:?}"),
        }
    }
    assert_eq!(cache.size().1, pages, "every cached page belongs to a channel");
    assert!(cache.size().0 <= cache.cache.capacity());
}

#[test]
fn a_channel_over_its_budget_evicts_its_own_oldest_pages() {
    let cache = PageCache::new(16 << 20, 256 * KIB);
    let [a, b] = [gauge(), gauge()].map(|gauge| (cache.channel(gauge.clone()), gauge));
    put(&b.0, 0, 100 * KIB);
    for page in 0..100 {
        put(&a.0, page, 100 * KIB);
    }
    assert_eq!(cached(&a.0).into_keys().collect::<Vec<_>>(), [98, 99]);
    assert_eq!(a.1.get(), 200 << 10);
    assert!(b.0.get(&key(&b.0, 0)).is_some(), "pages of other channels stay");
    put(&a.0, 100, 257 * KIB);
    assert_eq!(cached(&a.0).len(), 2, "nothing is evicted for a page that is too large");
    put(&a.0, 99, 10 * KIB);
    assert_eq!(cached(&a.0)[&99], 100 * KIB, "a page that is cached is not replaced");
    assert_exact(&cache, &[a, b]);
}

#[test]
fn a_closed_channel_evicts_its_pages_and_caches_no_more() {
    let cache = PageCache::new(1 << 20, 1 << 20);
    let (channel, bytes) = (cache.channel(gauge()), gauge());
    let closed = cache.channel(bytes.clone());
    put(&channel, 1, KIB);
    put(&closed, 1, KIB);
    put(&closed, 2, KIB);
    assert_eq!(bytes.get(), 2 << 10);
    closed.close();
    put(&closed, 3, KIB); // a load that was in progress
    assert_eq!((bytes.get(), cached(&closed).len()), (0, 0));
    assert_eq!(cache.size(), (KIB, 1));
    drop(channel);
    assert_eq!(cache.size(), (0, 0), "a log that is dropped without close evicts its pages, too");
    assert!(cache.usages.lock().channels.is_empty());
}

#[test]
fn the_budget_of_a_channel_is_at_most_that_of_the_cache() {
    let cache = PageCache::new(1 << 20, 64 << 20);
    let (channel, bytes) = (cache.channel(gauge()), gauge());
    let other = cache.channel(bytes.clone());
    for page in 0..100 {
        put(&channel, page, 50 * KIB);
    }
    put(&other, 0, 50 * KIB);
    assert_eq!(bytes.get(), 50 << 10);
    assert!(cache.size().0 <= 1 << 20);
}

#[derive(Clone, Debug)]
enum Step {
    Put { channel: usize, page: u64, weight: u64 },
    Get { channel: usize, page: u64 },
    Close { channel: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (channel, page) = (0..4usize, 0..60u64);
    prop_oneof![
        20 => (channel.clone(), page.clone(), 1..700 * KIB)
            .prop_map(|(channel, page, weight)| Step::Put { channel, page, weight }),
        10 => (channel.clone(), page).prop_map(|(channel, page)| Step::Get { channel, page }),
        1 => channel.prop_map(|channel| Step::Close { channel }),
    ]
}

proptest! {
    #[test]
    fn usage_is_exact_after_every_step(steps in proptest::collection::vec(step(), 1..300)) {
        // Together they exceed the capacity, so the cache evicts by itself, too.
        let cache = PageCache::new(1 << 20, 512 * KIB);
        let channels: Vec<_> =
            (0..4).map(|_| gauge()).map(|gauge| (cache.channel(gauge.clone()), gauge)).collect();
        for step in steps {
            match step {
                Step::Put { channel, page, weight } => put(&channels[channel].0, page, weight),
                Step::Get { channel, page } => drop(channels[channel].0.get(&key(&channels[channel].0, page))),
                Step::Close { channel } => channels[channel].0.close(),
            }
            assert_exact(&cache, &channels);
        }
    }

    /// A channel that is limited by its own budget alone holds the newest pages that fit.
    #[test]
    fn the_newest_pages_stay(weights in proptest::collection::vec(1..400 * KIB, 1..60)) {
        let cache = PageCache::new(64 << 20, 512 * KIB);
        let channel = cache.channel(gauge());
        let mut wanted = Vec::new();
        for (page, weight) in (0..).zip(weights) {
            put(&channel, page, weight);
            wanted.push((page, weight));
            while wanted.iter().map(|(_, weight)| weight).sum::<u64>() > 512 * KIB {
                wanted.remove(0);
            }
            prop_assert_eq!(cached(&channel).into_iter().collect::<Vec<_>>(), wanted.clone());
        }
    }
}

#[test]
fn usage_is_exact_after_many_threads() {
    const THREADS: u64 = 8;
    // Several shards, each with its lock.
    let cache = PageCache::new(64 << 20, 24 << 20);
    let channels: Vec<_> =
        (0..5).map(|_| gauge()).map(|gauge| (cache.channel(gauge.clone()), gauge)).collect();
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let channels = &channels;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..20_000 {
                    let (channel, _) = &channels[random.usize(..5)];
                    let page = random.u64(..200);
                    if channel.get(&key(channel, page)).is_none() {
                        put(channel, page, random.u64(1..512 * KIB));
                    }
                }
                if seed == 0 {
                    channels[4].0.close();
                }
            });
        }
    });
    assert_exact(&cache, &channels);
    assert!(cache.size().0 > 32 << 20, "the cache was full: {:?}", cache.size());
}
