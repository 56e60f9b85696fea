//! How much a client may send: the receiving side of flow control (RFC 9113, section 5.2). Pure.

/// The size of the window of each stream and of the connection.
pub(super) const WINDOW: u32 = 1 << 20;

/// The window of one stream, or of the connection.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    /// Bytes that the client may still send.
    left: u32,
    /// Bytes that were received and not released.
    held: u32,
    /// Bytes that were released since the last WINDOW_UPDATE.
    released: u32,
}

impl ReceiveWindow {
    pub(super) fn new() -> Self {
        Self { left: WINDOW, held: 0, released: 0 }
    }

    /// The client has sent `bytes`. Returns false if it may not.
    pub(super) fn receive(&mut self, bytes: u32) -> bool {
        let Some(left) = self.left.checked_sub(bytes) else { return false };
        self.left = left;
        self.held += bytes;
        true
    }

    /// Releases `bytes`. Returns the increment for a WINDOW_UPDATE, if it is large enough to send one.
    pub(super) fn release(&mut self, bytes: u32) -> Option<u32> {
        let bytes = bytes.min(self.held);
        self.held -= bytes;
        self.released += bytes;
        if self.released < WINDOW / 2 {
            return None;
        }
        self.left += self.released;
        Some(std::mem::take(&mut self.released))
    }

    /// Bytes that are held.
    pub(super) fn held(&self) -> u32 {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the client may send, what is held and what is to be announced are always one window.
        #[test]
        fn the_parts_of_a_window_are_the_whole(steps in proptest::collection::vec((any::<bool>(), 0_u32..WINDOW), 1..100)) {
            let mut window = ReceiveWindow::new();
            for (receives, bytes) in steps {
                if receives {
                    let may = bytes <= window.left;
                    prop_assert_eq!(window.receive(bytes), may);
                } else {
                    window.release(bytes);
                }
                prop_assert_eq!(window.left + window.held + window.released, WINDOW);
                prop_assert!(window.held > 0 || window.left > WINDOW / 2, "a client waits for nothing");
            }
        }
    }
}
