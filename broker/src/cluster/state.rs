//! What a broker knows of a channel's keys, revocations and renewals.

use std::{
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Notify, watch},
    time::{Duration, Instant, timeout},
};

use super::records::{KEY_LIFE, REVOCATION_LIFE, Record, Renewal, Revocation, Revoked, TicketKey};
use crate::{
    clock::now_millis,
    identity::{Identity, RandomId},
};

/// A key is used for new tickets only this long after it was first seen, so that all brokers have it.
const KEY_SETTLING_TIME: Duration = Duration::from_secs(30);
/// The least time between two reads that unknown keys cause.
const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_secs(1);
/// How long the state is kept up to date after a request that needed it, while the log is parked.
const REQUESTED_TIME: Duration = Duration::from_secs(120);
/// How long a request waits for the stream to be read.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The state that the brokers of one channel share.
pub(crate) struct SharedState {
    known: RwLock<Records>,
    /// Counts how many times the stream was read completely. The state is known after the first time.
    readings: watch::Sender<u64>,
    /// Asks for the stream to be read now.
    wanted: Notify,
    /// When a read was last asked for, and the number of completed reads at that time.
    last_wanted: RwLock<Option<(Instant, u64)>>,
    /// What is needed now: what the configuration requires while the channel is in use, and nothing otherwise.
    needed: watch::Sender<Needed>,
    usage: Mutex<Usage>,
    /// A copy of `usage.is_attached` that requests read without the lock.
    is_attached: AtomicBool,
}

/// Whether the channel is in use: while its log is attached, and for a time after a request that needed the state.
struct Usage {
    configured: Needed,
    is_attached: bool,
    requested: Option<Instant>,
}

/// What a channel needs of the state that brokers share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needed {
    /// The records, to verify credentials. Otherwise nothing is read.
    pub(crate) records: bool,
    /// A key, to issue tickets.
    pub(crate) keys: bool,
    /// The messages of other brokers.
    pub(crate) messages: bool,
}

/// The stream could not be read in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateUnavailable;

#[derive(Default)]
struct Records {
    keys: BTreeMap<u32, (TicketKey, Instant)>,
    /// The time before which everything is revoked, in milliseconds since 1970.
    revocations: HashMap<Revoked, i64>,
    renewals: HashMap<RandomId, Renewal>,
}

impl SharedState {
    pub(crate) fn new() -> Self {
        Self {
            known: RwLock::default(),
            readings: watch::channel(0).0,
            wanted: Notify::new(),
            last_wanted: RwLock::default(),
            needed: watch::Sender::default(),
            usage: Mutex::new(Usage {
                configured: Needed::default(),
                is_attached: true,
                requested: None,
            }),
            is_attached: AtomicBool::new(true),
        }
    }

    /// Waits a limited time until the stream was read once. Returns whether it was: before that, no credential can be verified.
    pub(crate) async fn wait_until_known(&self) -> bool {
        let mut readings = self.readings.subscribe();
        let first = timeout(READ_TIMEOUT, readings.wait_for(|n| *n > 0)).await;
        matches!(first, Ok(Ok(_)))
    }

    /// Sets what is needed while the channel is in use.
    pub(crate) fn set_needed(&self, needed: Needed) {
        self.change_usage(|usage| usage.configured = needed);
    }

    /// The log of the channel was attached or parked.
    pub(crate) fn set_attached(&self, is_attached: bool) {
        self.is_attached.store(is_attached, Relaxed);
        self.change_usage(|usage| usage.is_attached = is_attached);
    }

    /// A request needs the state, although the log may be parked.
    pub(crate) fn mark_requested(&self) {
        if !self.is_attached.load(Relaxed) {
            self.change_usage(|usage| usage.requested = Some(Instant::now()));
        }
    }

    /// Checks whether the channel is still in use. Returns whether the records are needed.
    pub(super) fn needs_records(&self) -> bool {
        self.change_usage(|_| {});
        self.needed.borrow().records
    }

    fn change_usage(&self, change: impl FnOnce(&mut Usage)) {
        let mut usage = self.usage.lock();
        change(&mut usage);
        let was_requested = usage.requested.is_some_and(|at| at.elapsed() < REQUESTED_TIME);
        let is_used = usage.is_attached || was_requested;
        let needed = if is_used { usage.configured } else { Needed::default() };
        self.needed.send_if_modified(|before| {
            if needed.keys && !before.keys {
                self.wanted.notify_one(); // the key is made when the stream is read
            }
            std::mem::replace(before, needed) != needed
        });
    }

    /// Forgets everything, because the stream is no longer followed.
    pub(super) fn forget(&self) {
        self.readings.send_replace(0);
        *self.known.write() = Records::default();
    }

    /// Waits until what is needed satisfies `condition`.
    pub(super) async fn wait_for_need(&self, condition: impl Fn(&Needed) -> bool) {
        let mut needed = self.needed.subscribe();
        if needed.wait_for(condition).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn wants_keys(&self) -> bool {
        self.needed.borrow().keys
    }

    /// Completes when a read is asked for.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub(crate) fn mark_read(&self) {
        self.readings.send_modify(|n| *n += 1);
    }

    /// Applies a record. The order of records of one subject does not matter, and repeating one changes nothing.
    pub(crate) fn apply(&self, record: &Record) {
        let mut known = self.known.write();
        match record {
            Record::Key(key) => {
                known.keys.entry(key.day).or_insert_with(|| (key.clone(), Instant::now()));
            }
            Record::Revocation(Revocation { what, before }) => {
                let at = known.revocations.entry(what.clone()).or_insert(*before);
                *at = (*at).max(*before);
            }
            Record::Renewal(renewal) => {
                let newer =
                    known.renewals.get(&renewal.id).is_none_or(|old| old.until <= renewal.until);
                if newer {
                    known.renewals.insert(renewal.id, renewal.clone());
                }
            }
        }
    }

    /// Forgets what has expired.
    pub(super) fn prune(&self) {
        let now = now_millis();
        let mut known = self.known.write();
        let today = u32::try_from(now / 86_400_000).unwrap_or(0);
        let days = u32::try_from(KEY_LIFE.as_secs() / 86_400).unwrap_or(2);
        known.keys.retain(|day, _| day + days >= today);
        let oldest = now - i64::try_from(REVOCATION_LIFE.as_millis()).unwrap_or(0);
        known.revocations.retain(|_, before| *before > oldest);
        known.renewals.retain(|_, renewal| renewal.until.saturating_mul(1000) > now);
    }

    /// The newest key that all brokers know, or the newest of all if there is none.
    pub(crate) fn current_key(&self) -> Option<TicketKey> {
        let known = self.known.read();
        let settled = |seen: &Instant| seen.elapsed() >= KEY_SETTLING_TIME;
        let newest = known.keys.values().rev().find(|(_, seen)| settled(seen));
        newest.or_else(|| known.keys.values().next_back()).map(|(key, _)| key.clone())
    }

    pub(super) fn has_key(&self, day: u32) -> bool {
        self.known.read().keys.contains_key(&day)
    }

    /// The key of `day`, if there is one. For an unknown key the stream is read again, at most once in [`UNKNOWN_KEY_COOLDOWN`].
    ///
    /// # Errors
    /// It is unknown, and the stream cannot be read now.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn key(&self, day: u32) -> Result<Option<TicketKey>, StateUnavailable> {
        self.mark_requested();
        let known = || self.known.read().keys.get(&day).map(|(key, _)| key.clone());
        if let Some(key) = known() {
            return Ok(Some(key));
        }
        let mut readings = self.readings.subscribe();
        let before = {
            let mut last = self.last_wanted.write();
            match *last {
                // The read that another request has asked for is sufficient.
                Some((at, before)) if at.elapsed() < UNKNOWN_KEY_COOLDOWN => before,
                _ => {
                    let before = *readings.borrow();
                    *last = Some((Instant::now(), before));
                    self.wanted.notify_one();
                    before
                }
            }
        };
        let read = timeout(READ_TIMEOUT, readings.wait_for(|n| *n > before)).await;
        let was_read = matches!(read, Ok(Ok(_)));
        drop(read);
        match known() {
            None if !was_read => Err(StateUnavailable),
            key => Ok(key),
        }
    }

    /// Whether what was issued to `subject` at `issued_at`, in seconds since 1970, is revoked. If that time is unknown, any revocation
    /// counts.
    pub(crate) fn is_revoked(&self, subject: &str, issued_at: Option<i64>) -> bool {
        let before = self.revoked_before(&Revoked::Subject(subject.into()));
        before.is_some_and(|before| issued_at.is_none_or(|at| at <= before / 1000))
    }

    /// The time before which `what` is revoked, in milliseconds since 1970.
    pub(crate) fn revoked_before(&self, what: &Revoked) -> Option<i64> {
        let known = self.known.read();
        if known.revocations.is_empty() { None } else { known.revocations.get(what).copied() }
    }

    /// The renewal of `id` for `identity`.
    pub(crate) fn renewal(&self, id: RandomId, identity: &Identity) -> Option<Renewal> {
        let known = self.known.read();
        known.renewals.get(&id).filter(|renewal| renewal.identity == *identity).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(day: u32) -> Record {
        Record::Key(TicketKey { day, key: [1; 32] })
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_key_is_used_once_all_brokers_have_it() {
        let state = SharedState::new();
        assert!(state.current_key().is_none());
        state.apply(&key(10));
        assert_eq!(state.current_key().map(|k| k.day), Some(10), "there is no other");
        tokio::time::advance(KEY_SETTLING_TIME).await;
        state.apply(&key(11));
        assert_eq!(state.current_key().map(|k| k.day), Some(10));
        tokio::time::advance(KEY_SETTLING_TIME).await;
        state.apply(&key(11));
        assert_eq!(state.current_key().map(|k| k.day), Some(11));
    }

    #[test]
    fn the_latest_revocation_counts() {
        let state = SharedState::new();
        let revoke = |before| {
            Record::Revocation(Revocation { what: Revoked::Subject("ann".into()), before })
        };
        assert!(!state.is_revoked("ann", None));
        state.apply(&revoke(5000));
        state.apply(&revoke(3000));
        assert!(state.is_revoked("ann", Some(5)) && state.is_revoked("ann", None));
        assert!(!state.is_revoked("ann", Some(6)) && !state.is_revoked("bob", None));
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_cause_one_reading_in_a_while() {
        let state = SharedState::new();
        let reader = async {
            state.wanted().await;
            state.apply(&key(7));
            state.mark_read();
        };
        let (found, ()) = tokio::join!(state.key(7), reader);
        assert_eq!(found.map(|found| found.map(|k| k.day)), Ok(Some(7)));
        let began = Instant::now();
        assert_eq!(state.key(8).await, Ok(None), "within the cooldown");
        assert_eq!(began.elapsed(), Duration::ZERO, "nothing was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_come_together_wait_for_one_reading() {
        let state = SharedState::new();
        let reader = async {
            state.wanted().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            state.apply(&key(7));
            state.mark_read();
        };
        let (one, two, ()) = tokio::join!(state.key(7), state.key(7), reader);
        assert!(matches!((one, two), (Ok(Some(_)), Ok(Some(_)))), "both find it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_cannot_be_looked_up_is_not_one_that_is_missing() {
        let state = SharedState::new();
        for _ in 0..2 {
            assert_eq!(state.key(7).await, Err(StateUnavailable), "nobody reads");
        }
        state.mark_read();
        assert_eq!(tokio::join!(state.key(7), async { state.mark_read() }).0, Ok(None));
    }
}
