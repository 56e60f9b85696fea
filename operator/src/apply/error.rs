//! Why objects could not be applied.

use crate::{kind::Kind, leader::NotLeader};

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of this name belongs to somebody else.
    #[error(
        "{kind} {name} exists and does not belong to this object, so it is left unchanged: rename or delete it, or rename its owner"
    )]
    NameConflict {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
    },
    /// The API server rejected the request.
    #[error("the API server rejected {kind} {name}: {message}")]
    Rejected {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// The message of the API server.
        message: String,
        /// Whether a retry may succeed: true for an exceeded quota, false for an invalid field.
        is_transient: bool,
    },
    /// The request failed.
    #[error("failed to write {kind} {name}")]
    Api {
        /// Kind of the object.
        kind: &'static str,
        /// Name of the object.
        name: String,
        /// Why the request failed.
        #[source]
        source: kube::Error,
    },
    /// Another replica may be the leader.
    #[error(transparent)]
    NotLeader(#[from] NotLeader),
}

pub(super) fn failed(kind: Kind, name: &str, source: kube::Error) -> ApplyError {
    let (kind, name) = (kind.as_str(), name.to_owned());
    match source {
        kube::Error::Api(e)
            if (400..500).contains(&e.code) && !e.is_conflict() && e.code != 429 =>
        {
            // 400: bad request, 413: too large, 422: invalid object
            let is_transient = ![400, 413, 422].contains(&e.code);
            ApplyError::Rejected { kind, name, message: e.message.clone(), is_transient }
        }
        source => ApplyError::Api { kind, name, source },
    }
}
