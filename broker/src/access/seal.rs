//! Sealed texts: encrypted, so that logged URLs reveal nothing, and authenticated, so that only brokers can make them.
//!
//! `prefix + base64url(version, day of the key, nonce, AES-256-GCM(JSON))`. The channel and the kind are authenticated with it: a ticket
//! of one channel is invalid on another.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Serialize, de::DeserializeOwned};

use super::credential::{Denied, Invalid, TICKET_PREFIX};
use crate::cluster::{SharedState, StateUnavailable};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 4;
/// Bytes of a sealed text.
const MAX_BYTES: usize = 4 << 10;

/// What a text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ticket,
    /// The path at which a grant is renewed.
    Renewal,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Ticket => TICKET_PREFIX,
            Self::Renewal => "evr_",
        }
    }
}

/// Seals and opens texts of one channel.
#[derive(Clone)]
pub(super) struct Sealer {
    state: Arc<SharedState>,
    channel: Arc<str>,
}

impl Sealer {
    pub(super) fn new(state: Arc<SharedState>, channel: Arc<str>) -> Self {
        Self { state, channel }
    }

    fn additional(&self, kind: Kind, head: &[u8]) -> Aad<Vec<u8>> {
        Aad::from([head, kind.prefix().as_bytes(), self.channel.as_bytes()].concat())
    }

    /// Seals `value`; `None` if there is no key yet.
    pub(super) fn seal(&self, kind: Kind, value: &impl Serialize) -> Option<String> {
        let key = self.state.current_key()?;
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.key).ok()?);
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = serde_json::to_vec(value).ok()?;
        let head = [&[VERSION][..], &key.day.to_be_bytes()].concat();
        let additional = self.additional(kind, &head);
        let nonce_of_text = Nonce::assume_unique_for_key(nonce);
        cipher.seal_in_place_append_tag(nonce_of_text, additional, &mut sealed).ok()?;
        Some(kind.prefix().to_owned() + &BASE64.encode([&head[..], &nonce, &sealed].concat()))
    }

    /// Opens a text.
    ///
    /// # Errors
    /// It was not sealed by a broker of this channel, or its key cannot be looked up now.
    pub(super) async fn open<T: DeserializeOwned>(
        &self,
        kind: Kind,
        text: &str,
    ) -> Result<T, Denied> {
        let broken = || {
            Invalid::new("form", "It is not a ticket of this channel, or a part of it is missing.")
        };
        if text.len() > MAX_BYTES {
            return Err(broken().into());
        }
        let encoded = text.strip_prefix(kind.prefix()).ok_or_else(broken)?;
        let mut bytes = BASE64.decode(encoded).map_err(|_| broken())?;
        if bytes.len() < HEAD_BYTES + NONCE_LEN || bytes[0] != VERSION {
            return Err(broken().into());
        }
        let day = u32::from_be_bytes(bytes[1..HEAD_BYTES].try_into().map_err(|_| broken())?);
        if !self.state.wait_until_known().await {
            return Err(Denied::Unavailable("the state that brokers share was not read yet"));
        }
        let key = self.state.key(day).await;
        let key = key.map_err(|StateUnavailable| {
            Denied::Unavailable("the keys of tickets cannot be read")
        })?;
        let Some(key) = key else {
            let detail =
                "The key with which it was sealed is unknown or has expired: take a new one.";
            return Err(Invalid::new("unknown-key", detail).into());
        };
        let additional = self.additional(kind, &bytes[..HEAD_BYTES]);
        let nonce = bytes[HEAD_BYTES..HEAD_BYTES + NONCE_LEN].try_into().map_err(|_| broken())?;
        let sealed = &mut bytes[HEAD_BYTES + NONCE_LEN..];
        let cipher = UnboundKey::new(&AES_256_GCM, &key.key).map_err(|_| broken())?;
        let opened = LessSafeKey::new(cipher)
            .open_in_place(Nonce::assume_unique_for_key(nonce), additional, sealed)
            .map_err(|_| broken())?;
        serde_json::from_slice(opened).map_err(|_| broken().into())
    }
}
