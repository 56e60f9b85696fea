use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const KIB: u64 = 1 << 10;

fn key(shelf: &Shelf, page: u64) -> Key {
    let low = page * 256;
    Key { shelf: shelf.number, epoch: Epoch::mint(7), number: 1, low, high: low + 255 }
}

fn put(shelf: &Shelf, page: u64, weight: u64) {
    let key = key(shelf, page);
    shelf.put(key.clone(), Arc::new(Page::of_weight(key.low, key.high, weight)));
}

fn gauge() -> IntGauge {
    IntGauge::new("bytes", "bytes").unwrap()
}

/// Numbers of the pages that `shelf` has, and what they weigh.
fn held(shelf: &Shelf) -> BTreeMap<u64, u64> {
    let all = shelf.cache.cache.iter().filter(|(key, _)| key.shelf == shelf.number);
    all.map(|(key, held)| (key.low / 256, held.page.weight())).collect()
}

/// The books say exactly what is cached, and all of it is within the budgets.
fn balances(cache: &PageCache, shelves: &[(Shelf, IntGauge)]) {
    let books = cache.books.lock();
    let mut pages = 0;
    for (shelf, gauge) in shelves {
        let held = held(shelf);
        let bytes: u64 = held.values().sum();
        pages += held.len();
        assert!(bytes <= cache.channel_bytes, "{bytes} of {}", cache.channel_bytes);
        assert_eq!(u64::try_from(gauge.get()).unwrap(), bytes);
        match books.open.get(&shelf.number) {
            Some(book) => {
                assert_eq!(book.bytes, bytes);
                let mut booked: Vec<_> = book.pages.values().map(|key| key.low / 256).collect();
                booked.sort_unstable();
                assert_eq!(booked, held.into_keys().collect::<Vec<_>>());
            }
            None => assert!(held.is_empty(), "closed, and yet there: {held:?}"),
        }
    }
    assert_eq!(cache.size().1, pages, "of nobody");
    assert!(cache.size().0 <= cache.cache.capacity());
}

#[test]
fn a_channel_over_its_budget_lets_its_own_oldest_pages_go() {
    let cache = PageCache::new(16 << 20, 256 * KIB);
    let [a, b] = [gauge(), gauge()].map(|gauge| (cache.shelf(gauge.clone()), gauge));
    put(&b.0, 0, 100 * KIB);
    for page in 0..100 {
        put(&a.0, page, 100 * KIB);
    }
    assert_eq!(held(&a.0).into_keys().collect::<Vec<_>>(), [98, 99]);
    assert_eq!(a.1.get(), 200 << 10);
    assert!(b.0.get(&key(&b.0, 0)).is_some(), "another's page stays");
    put(&a.0, 100, 257 * KIB);
    assert_eq!(held(&a.0).len(), 2, "nothing leaves for a page that has no room anyway");
    put(&a.0, 99, 10 * KIB);
    assert_eq!(held(&a.0)[&99], 100 * KIB, "one that is there stays as it is");
    balances(&cache, &[a, b]);
}

#[test]
fn the_pages_of_a_closed_shelf_go_at_once_and_none_comes_back() {
    let cache = PageCache::new(1 << 20, 1 << 20);
    let (shelf, bytes) = (cache.shelf(gauge()), gauge());
    let closed = cache.shelf(bytes.clone());
    put(&shelf, 1, KIB);
    put(&closed, 1, KIB);
    put(&closed, 2, KIB);
    assert_eq!(bytes.get(), 2 << 10);
    closed.close();
    put(&closed, 3, KIB); // by a load that was under way
    assert_eq!((bytes.get(), held(&closed).len()), (0, 0));
    assert_eq!(cache.size(), (KIB, 1));
    drop(shelf);
    assert_eq!(cache.size(), (0, 0), "nor does a log leave any that was not closed");
    assert!(cache.books.lock().open.is_empty());
}

#[test]
fn no_budget_of_a_channel_is_more_than_that_of_all() {
    let cache = PageCache::new(1 << 20, 64 << 20);
    let (shelf, bytes) = (cache.shelf(gauge()), gauge());
    let other = cache.shelf(bytes.clone());
    for page in 0..100 {
        put(&shelf, page, 50 * KIB);
    }
    put(&other, 0, 50 * KIB);
    assert_eq!(bytes.get(), 50 << 10);
    assert!(cache.size().0 <= 1 << 20);
}

#[derive(Clone, Debug)]
enum Step {
    Put { shelf: usize, page: u64, weight: u64 },
    Get { shelf: usize, page: u64 },
    Close { shelf: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (shelf, page) = (0..4usize, 0..60u64);
    prop_oneof![
        20 => (shelf.clone(), page.clone(), 1..700 * KIB)
            .prop_map(|(shelf, page, weight)| Step::Put { shelf, page, weight }),
        10 => (shelf.clone(), page).prop_map(|(shelf, page)| Step::Get { shelf, page }),
        1 => shelf.prop_map(|shelf| Step::Close { shelf }),
    ]
}

proptest! {
    #[test]
    fn the_books_balance_after_every_step(steps in proptest::collection::vec(step(), 1..300)) {
        // All together want more than there is, so the cache evicts for itself, too.
        let cache = PageCache::new(1 << 20, 512 * KIB);
        let shelves: Vec<_> =
            (0..4).map(|_| gauge()).map(|gauge| (cache.shelf(gauge.clone()), gauge)).collect();
        for step in steps {
            match step {
                Step::Put { shelf, page, weight } => put(&shelves[shelf].0, page, weight),
                Step::Get { shelf, page } => drop(shelves[shelf].0.get(&key(&shelves[shelf].0, page))),
                Step::Close { shelf } => shelves[shelf].0.close(),
            }
            balances(&cache, &shelves);
        }
    }

    /// Where only the channel's own budget presses, it holds the newest pages that fit.
    #[test]
    fn what_stays_is_the_newest(weights in proptest::collection::vec(1..400 * KIB, 1..60)) {
        let cache = PageCache::new(64 << 20, 512 * KIB);
        let shelf = cache.shelf(gauge());
        let mut wanted = Vec::new();
        for (page, weight) in (0..).zip(weights) {
            put(&shelf, page, weight);
            wanted.push((page, weight));
            while wanted.iter().map(|(_, weight)| weight).sum::<u64>() > 512 * KIB {
                wanted.remove(0);
            }
            prop_assert_eq!(held(&shelf).into_iter().collect::<Vec<_>>(), wanted.clone());
        }
    }
}

#[test]
fn the_books_balance_after_many_threads() {
    const THREADS: u64 = 8;
    // Several parts, each with its lock.
    let cache = PageCache::new(64 << 20, 24 << 20);
    let shelves: Vec<_> =
        (0..5).map(|_| gauge()).map(|gauge| (cache.shelf(gauge.clone()), gauge)).collect();
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let shelves = &shelves;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..20_000 {
                    let (shelf, _) = &shelves[random.usize(..5)];
                    let page = random.u64(..200);
                    if shelf.get(&key(shelf, page)).is_none() {
                        put(shelf, page, random.u64(1..512 * KIB));
                    }
                }
                if seed == 0 {
                    shelves[4].0.close();
                }
            });
        }
    });
    balances(&cache, &shelves);
    assert!(cache.size().0 > 32 << 20, "it was full: {:?}", cache.size());
}
