//! Reads the small JSON body of a request that does not publish.

use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    RequestBody,
    problem::{Kind, Problem},
};

/// Bytes of the body.
const MAX_BYTES: usize = 16 << 10;
/// How long it may take to arrive.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The body as JSON; an empty one is the default of `T`.
pub(super) async fn read<T: DeserializeOwned + Default>(body: RequestBody) -> Result<T, Problem> {
    let read = timeout(TIMEOUT, Limited::new(body, MAX_BYTES).collect()).await;
    let late = |_| {
        let detail = "The body did not arrive within 5 seconds.";
        Problem::new(Kind::BODY_TIMEOUT, detail).close()
    };
    let body = read.map_err(late)?.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Problem::too_large("The body is too large.", Some(MAX_BYTES)).close()
        } else {
            Problem::incomplete_body()
        }
    })?;
    let bytes = body.to_bytes();
    // A byte order mark, which programs on Windows put before JSON, may be ignored (RFC 8259, section 8.1).
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes).map_err(|error| {
        // The message may quote a part of the body: it goes only to the client that sent it.
        Problem::field("body", format!("The body is not the JSON that is expected here: {error}."))
    })
}
