//! Keys from a file, which is read again when it changes.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use eventcast_crds::broker_status::AccessReason;

use super::{
    KeyOrigin, KeySet,
    state::{Failure, KeyState},
};
use crate::watch::{self, Content, WatchedFiles};

/// Reads the file once.
pub(super) fn load(path: &Path, state: &KeyState) {
    apply(path, &watch::read(path), state);
}

/// Reads the file whenever it changes. Never returns.
pub(super) async fn watch(path: PathBuf, state: Arc<KeyState>) {
    let mut files = WatchedFiles::new(vec![path.clone()]);
    loop {
        let contents = files.changed().await.to_vec();
        contents.iter().for_each(|content| apply(&path, content, &state));
    }
}

fn apply(path: &Path, content: &Content, state: &KeyState) {
    let file = path.display();
    let outcome = match content {
        Ok(content) => KeySet::parse(content, KeyOrigin::File)
            .map(|keys| state.succeeded(keys, content))
            .map_err(|why| (AccessReason::KeysInvalid, format!("cannot use {file}: {why}"))),
        Err(ErrorKind::NotFound) => {
            let detail = format!("{file} is missing: create the Secret with this key");
            Err((AccessReason::SecretMissing, detail))
        }
        Err(kind) => Err((AccessReason::SecretMissing, format!("cannot read {file}: {kind}"))),
    };
    if let Err((reason, detail)) = outcome {
        tracing::warn!(reason = reason.as_str(), detail, "the keys of an issuer cannot be loaded");
        state.failed(Failure { reason, detail });
    }
}
