//! stub
pub(crate) struct Wheel<T> {
    all: Vec<(u64, T)>,
}
impl<T: Copy> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self { all: Vec::new() }
    }
    pub(crate) fn insert(&mut self, due: u64, t: T) {
        self.all.push((due, t));
    }
    pub(crate) fn advance(&mut self, now: u64, mut f: impl FnMut(T)) {
        self.all.retain(|(d, t)| {
            if *d <= now {
                f(*t);
                false
            } else {
                true
            }
        });
    }
    pub(crate) fn next_due(&self, now: u64) -> Option<u64> {
        self.all.iter().map(|(d, _)| d.saturating_sub(now)).min()
    }
}
