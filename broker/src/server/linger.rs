//! Closing a connection so that its last answer is seen: a socket that is closed with bytes unread is reset, and the reset may destroy the answer
//! (RFC 9112, section 9.6).

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long what the client still sends is read; shorter where another connection waits for the socket.
pub(super) const LINGER: Duration = Duration::from_secs(1);
pub(super) const SHORT_LINGER: Duration = Duration::from_millis(100);
/// How much of it is read.
const LINGER_BYTES: usize = 1 << 20;

/// Writes `last`, says that nothing follows, and reads on for a moment.
pub(super) async fn close(mut socket: TcpStream, last: &[u8], linger: Duration) {
    let said = async {
        socket.write_all(last).await?;
        socket.shutdown().await?;
        let (mut sink, mut read) = ([0; 4096], 0);
        while read < LINGER_BYTES {
            match socket.read(&mut sink).await? {
                0 => break,
                n => read += n,
            }
        }
        std::io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(linger, said).await {
        tracing::trace!(%error, "a socket was closed before us");
    }
}
