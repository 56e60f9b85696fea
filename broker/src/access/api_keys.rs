//! API keys: long-lived credentials of publishers and backends. A folder, which a Secret fills, has one file for each key.

mod entry;
mod form;

use std::{collections::BTreeMap, io::ErrorKind, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use eventcast_crds::{
    broker_status::{AccessProblem, AccessReason},
    config::{ApiKeys, Quota},
};
use tokio_util::sync::DropGuard;

use self::entry::Entry;
pub(crate) use self::{
    entry::Permissions,
    form::{Minted, mint},
};
use super::{
    credential::{Denied, Invalid},
    grant::Grant,
    keys::Tasks,
};
use crate::{
    clock,
    watch::{Content, WatchedFolder},
};

/// Keys that a channel may have.
const MAX_API_KEYS: usize = 1000;

/// What was read of the folder.
#[derive(Default)]
struct Contents {
    /// By id. `None` is an invalid entry: its key can be neither accepted nor refused.
    entries: BTreeMap<String, Option<(Entry, Arc<Grant>)>>,
    problem: Option<(AccessReason, String)>,
}

/// The API keys of a channel, kept up to date until this is dropped.
pub(super) struct ApiKeyring {
    folder: PathBuf,
    contents: Arc<ArcSwap<Contents>>,
    _stop: DropGuard,
}

impl ApiKeyring {
    /// The keys that `config` names: `known`, if it is the same folder.
    pub(super) fn of(config: &ApiKeys, known: Option<Arc<Self>>, tasks: &Tasks) -> Arc<Self> {
        if let Some(known) = known.filter(|known| known.folder == config.folder) {
            return known;
        }
        let folder = config.folder.clone();
        let mut watched = WatchedFolder::new(folder.clone(), MAX_API_KEYS);
        // At once, so that a broker has its keys before its first request.
        let read = |files: &Result<_, _>| Arc::new(Contents::read(&config.folder, files));
        let contents = Arc::new(ArcSwap::new(read(&watched.read())));
        let stop = tasks.stop.child_token();
        let watch = watch(watched, folder.clone(), Arc::clone(&contents));
        let watch = stop.clone().run_until_cancelled_owned(watch);
        tasks.supervisor.spawn(format!("API keys in {}", folder.display()), &stop, watch);
        Arc::new(Self { folder, contents, _stop: stop.drop_guard() })
    }

    /// The grant of `key` in a channel with these `quotas`.
    ///
    /// # Errors
    /// It is not a key of the channel, has expired, or cannot be verified now.
    pub(super) fn verify(&self, key: &str, quotas: &[Quota]) -> Result<Arc<Grant>, Denied> {
        let id = form::id_of(key).ok_or_else(|| {
            let detail = "This is not an API key of Eventcast: a character is wrong or missing. eventcast-broker key makes them.";
            Invalid::new("form", detail)
        })?;
        let contents = self.contents.load();
        if contents.entries.is_empty() {
            return Err(Denied::Unavailable("the channel's API keys are missing"));
        }
        let hash = form::hash(key);
        let (entry, grant) = match contents.entries.get(id) {
            Some(Some(entry)) => entry,
            Some(None) => {
                return Err(Denied::Unavailable("the entry of this API key cannot be used"));
            }
            None => return Err(unknown().into()),
        };
        if !entry.is_of(&hash) {
            return Err(unknown().into());
        }
        if grant.expires.is_some_and(|at| at <= clock::now_seconds()) {
            let detail = "The API key has expired (notAfter). Make a new one.";
            return Err(Invalid::new("expired", detail).of(id).into());
        }
        // Without its class it would have no limit.
        if unknown_class(grant, quotas).is_some() {
            return Err(Denied::Unavailable("the quota of this API key is not in access.quotas"));
        }
        Ok(Arc::clone(grant))
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.contents.load().entries.len()
    }

    /// What is wrong with the keys, in a channel with these `quotas`.
    pub(super) fn problem(&self, quotas: &[Quota]) -> Option<AccessProblem> {
        let contents = self.contents.load();
        let (reason, detail) = contents.problem.clone().or_else(|| {
            let mut classes = contents
                .entries
                .iter()
                .filter_map(|(id, entry)| Some((id, unknown_class(&entry.as_ref()?.1, quotas)?)));
            let (id, class) = classes.next()?;
            let path = self.folder.display();
            let detail =
                format!("cannot use {path}/{id}: its quota {class:?} is not in access.quotas");
            Some((AccessReason::KeysInvalid, detail))
        })?;
        Some(AccessProblem { what: "api keys".into(), reason, detail })
    }
}

/// The class of the quota of `grant`, if it is not one of `quotas`.
fn unknown_class<'a>(grant: &'a Grant, quotas: &[Quota]) -> Option<&'a str> {
    grant.quota.as_deref().filter(|class| quotas.iter().all(|quota| quota.name != *class))
}

/// Reads the folder whenever it changes. Never returns.
async fn watch(mut watched: WatchedFolder, path: PathBuf, contents: Arc<ArcSwap<Contents>>) {
    loop {
        let files = watched.changed().await;
        contents.store(Arc::new(Contents::read(&path, &files)));
    }
}

/// The same answer whether the id is known or not, so that clients cannot probe for ids.
fn unknown() -> Invalid {
    let detail = "The API key is not accepted: it was never one of this channel, or was removed or replaced.";
    Invalid::new("unknown-key", detail)
}

impl Contents {
    fn read(
        folder: &std::path::Path,
        files: &Result<BTreeMap<String, Content>, ErrorKind>,
    ) -> Self {
        let path = folder.display();
        let mut contents = Self::default();
        let files = match files {
            Ok(files) if files.is_empty() => {
                let detail =
                    format!("{path} has no keys: create the Secret, one entry for each key");
                contents.problem = Some((AccessReason::SecretMissing, detail));
                files
            }
            Ok(files) => files,
            Err(kind) => {
                let detail = match kind {
                    ErrorKind::NotFound => {
                        format!("{path} is missing: create the Secret with API keys")
                    }
                    kind => format!("cannot read {path}: {kind}"),
                };
                contents.problem = Some((AccessReason::SecretMissing, detail));
                &BTreeMap::new()
            }
        };
        for (id, content) in files {
            let entry = match content {
                _ if !form::is_id(id) => Err("its name cannot be the id of a key"),
                Ok(content) => Entry::parse(id, content),
                Err(_) => Err("it cannot be read"),
            };
            let entry = match entry {
                Ok(entry) => {
                    let grant = Arc::new(entry.grant.clone());
                    Some((entry, grant))
                }
                Err(why) => {
                    let detail = format!("cannot use {path}/{id}: {why}");
                    contents.problem.get_or_insert((AccessReason::KeysInvalid, detail));
                    None
                }
            };
            contents.entries.insert(id.clone(), entry);
        }
        if let Some((reason, detail)) = &contents.problem {
            tracing::warn!(reason = reason.as_str(), detail, "API keys cannot be used");
        }
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(files: &[(&str, String)]) -> ApiKeyring {
        let files =
            files.iter().map(|(id, text)| ((*id).to_owned(), Ok(text.clone().into_bytes())));
        let contents = Contents::read("keys".as_ref(), &Ok(files.collect()));
        let stop = tokio_util::sync::CancellationToken::new();
        let contents = Arc::new(ArcSwap::from_pointee(contents));
        ApiKeyring { folder: "keys".into(), contents, _stop: stop.drop_guard() }
    }

    fn outcome(keyring: &ApiKeyring, key: &str) -> String {
        match keyring.verify(key, &[]) {
            Ok(grant) => grant.identity.as_ref().unwrap().subject.to_string(),
            Err(Denied::Invalid(invalid)) => invalid.check.into(),
            Err(Denied::Unavailable(_)) => "unavailable".into(),
            Err(Denied::TooMany(_)) => "too-many".into(),
        }
    }

    #[test]
    fn a_key_is_known_by_its_id_and_its_hash() {
        let keys = ["a", "b", "a"].map(|id| mint(id).unwrap());
        let entry = |key: &Minted, rest: &str| format!(r#"{{"sha256":"{}"{rest}}}"#, key.sha256);
        let ended = r#","notAfter":"2020-01-01T00:00:00Z""#;
        let keyring = keyring(&[
            ("a", entry(&keys[0], "")),
            ("b", entry(&keys[1], ended)),
            ("broken", "{".into()),
        ]);
        assert_eq!(outcome(&keyring, &keys[0].key), "a");
        assert_eq!(outcome(&keyring, &keys[1].key), "expired");
        assert_eq!(outcome(&keyring, &keys[2].key), "unknown-key", "another key with this id");
        assert_eq!(outcome(&keyring, &mint("c").unwrap().key), "unknown-key");
        assert_eq!(outcome(&keyring, &mint("broken").unwrap().key), "unavailable");
        assert_eq!(outcome(&keyring, "evk_a_x"), "form");
        let problem = keyring.problem(&[]).unwrap();
        assert_eq!(problem.reason, AccessReason::KeysInvalid);
        assert!(problem.detail.contains("keys/broken"), "{}", problem.detail);
    }

    #[test]
    fn without_any_entry_nothing_can_be_judged() {
        let keyring = keyring(&[]);
        assert_eq!(outcome(&keyring, &mint("a").unwrap().key), "unavailable");
        assert_eq!(keyring.problem(&[]).unwrap().reason, AccessReason::SecretMissing);
    }

    #[test]
    fn a_key_whose_class_is_unknown_is_reported_and_not_unlimited() {
        let key = mint("a").unwrap();
        let entry = format!(r#"{{"sha256":"{}","quota":"few"}}"#, key.sha256);
        let keyring = keyring(&[("a", entry)]);
        let few = [Quota { name: "few".into(), ..Quota::default() }];
        assert_eq!(keyring.verify(&key.key, &few).unwrap().quota.as_deref(), Some("few"));
        assert_eq!(keyring.problem(&few), None);
        assert_eq!(outcome(&keyring, &key.key), "unavailable");
        let problem = keyring.problem(&[]).unwrap();
        assert_eq!(problem.reason, AccessReason::KeysInvalid);
        assert!(problem.detail.contains(r#"keys/a: its quota "few""#), "{}", problem.detail);
    }

    /// The time of a refusal must not tell how much of a guess is right.
    #[test]
    fn a_refusal_takes_the_same_time_however_much_of_the_key_is_right() {
        let right = mint("a").unwrap();
        let keyring = keyring(&[("a", format!(r#"{{"sha256":"{}"}}"#, right.sha256))]);
        let secret = &right.key["evk_a_".len()..][..43];
        let guess = |length: usize| {
            let filler = if secret.as_bytes()[length] == b'x' { "y" } else { "x" };
            form::with_secret("a", &format!("{}{}", &secret[..length], filler.repeat(43 - length)))
        };
        let guesses = [0, 21, 42].map(guess);
        // Interleaved, and the fastest of many rounds: other programs only ever add time.
        let mut fastest = [std::time::Duration::MAX; 3];
        for _ in 0..300 {
            for (best, guess) in fastest.iter_mut().zip(&guesses) {
                let began = tokio::time::Instant::now();
                for _ in 0..10 {
                    assert!(keyring.verify(guess, &[]).is_err());
                }
                *best = (*best).min(began.elapsed());
            }
        }
        let (least, most) = (fastest.iter().min().unwrap(), fastest.iter().max().unwrap());
        assert!(*most < least.mul_f64(1.2), "{fastest:?}");
    }
}
