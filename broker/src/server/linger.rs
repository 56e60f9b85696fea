//! A lingering close, so that the client receives the last response: closing a socket with unread input resets the connection, and the
//! client may lose the response (RFC 9112, section 9.6).

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

/// How long input is read before the socket is closed; shorter if another connection waits for the socket.
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const SHORT_LINGER: Duration = Duration::from_millis(100);
/// The most input that is read.
const MAX_LINGER_BYTES: usize = 1 << 20;

/// Writes `last`, closes the sending side, and discards input for at most `linger`.
pub(super) async fn close(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    last: &[u8],
    linger: Duration,
) {
    let closing = async {
        socket.write_all(last).await?;
        socket.shutdown().await?;
        let (mut buffer, mut read) = ([0; 4096], 0);
        while read < MAX_LINGER_BYTES {
            match socket.read(&mut buffer).await? {
                0 => break,
                n => read += n,
            }
        }
        std::io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(linger, closing).await {
        tracing::trace!(%error, "the client closed the socket first");
    }
}
