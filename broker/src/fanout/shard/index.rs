//! stub
use crate::{event::Event, filter::Filter};
use std::sync::Arc;
type Key = u32;
#[derive(Default)]
pub(crate) struct Index {
    everyone: indexmap::IndexSet<Key>,
    some: Vec<(Key, Arc<Filter>)>,
}
impl Index {
    pub(crate) fn insert(&mut self, key: Key, f: &Arc<Filter>) {
        if f.is_empty() {
            self.everyone.insert(key);
        } else {
            self.some.push((key, Arc::clone(f)));
        }
    }
    pub(crate) fn remove(&mut self, key: Key, f: &Arc<Filter>) {
        if f.is_empty() {
            self.everyone.swap_remove(&key);
        } else {
            self.some.retain(|s| s.0 != key);
        }
    }
    pub(crate) fn len(&self) -> usize {
        self.everyone.len() + self.some.len()
    }
    pub(crate) fn everyone(&self) -> &indexmap::IndexSet<Key> {
        &self.everyone
    }
    pub(crate) fn selective_len(&self) -> usize {
        self.some.len()
    }
    pub(crate) fn select(&self, e: &Event, mut found: impl FnMut(Key)) {
        for (k, f) in &self.some {
            if f.passes(e) {
                found(*k)
            }
        }
    }
    pub(crate) fn clear(&mut self) -> Vec<Key> {
        let a = std::mem::take(self);
        a.everyone.into_iter().chain(a.some.into_iter().map(|s| s.0)).collect()
    }
}
