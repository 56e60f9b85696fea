//! Computes how many sockets there may be, from the limits and the limit of open files. Pure.

/// Files that are not sockets of clients: NATS and its reconnects, listeners, probes, logs, the configuration file, name resolution,
/// and connections beyond the limit while they are refused.
const OWN_FILES: u64 = 96;
/// Files of one shard: an epoll and its waker.
const SHARD_FILES: u64 = 2;
/// The fewest sockets with which a broker starts.
const MIN_SOCKETS: u64 = 16;

/// Sockets of the public listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// All sockets.
    pub(crate) sockets: usize,
    /// The sockets that streams may use.
    pub(crate) for_streams: usize,
}

/// This process may open too few files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {files} files, and a broker needs at least {needed}: raise the limit of open files (ulimit -n, LimitNOFILE=)"
)]
pub(crate) struct TooFewFiles {
    files: u64,
    needed: u64,
}

impl Capacity {
    /// The capacity for `connections` in a process that may open `files` (`None`: any number).
    pub(crate) fn new(
        connections: usize,
        files: Option<u64>,
        shards: usize,
    ) -> Result<Self, TooFewFiles> {
        let own = OWN_FILES + SHARD_FILES * shards as u64;
        let sockets = match files {
            None => connections,
            Some(files) if files < own + MIN_SOCKETS => {
                return Err(TooFewFiles { files, needed: own + MIN_SOCKETS });
            }
            Some(files) => connections.min(usize::try_from(files - own).unwrap_or(usize::MAX)),
        };
        let reserve = (sockets / 16).clamp(8, 512).min(sockets / 2);
        Ok(Self { sockets, for_streams: sockets - reserve })
    }

    /// Sockets that are kept free for new connections by evicting others.
    pub(crate) fn margin(self) -> usize {
        ((self.sockets - self.for_streams) / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn streams_leave_a_sixteenth_within_bounds() {
        let of = |connections, files| {
            let c = Capacity::new(connections, files, 2).expect("enough files");
            (c.sockets, c.for_streams)
        };
        assert_eq!(of(60_000, None), (60_000, 59_488));
        assert_eq!(of(60_000, Some(1 << 20)), (60_000, 59_488));
        assert_eq!(of(60_000, Some(1024)), (924, 867));
        assert_eq!(of(60_000, Some(256)), (156, 147));
        assert_eq!(of(10_000, None), (10_000, 9488));
        assert_eq!(of(4, None), (4, 2));
        assert_eq!(of(2, None), (2, 1));
    }

    #[test]
    fn too_few_files_are_an_error() {
        let error = Capacity::new(10, Some(64), 2).expect_err("too few").to_string();
        assert!(error.contains("64 files") && error.contains("at least 116"), "{error}");
    }

    proptest! {
        #[test]
        fn requests_always_have_sockets(connections in 2usize..200_000, files in proptest::option::of(0u64..2_000_000), shards in 0usize..256) {
            if let Ok(c) = Capacity::new(connections, files, shards) {
                prop_assert!(c.for_streams >= 1 && c.for_streams < c.sockets && c.sockets <= connections);
                prop_assert!(files.is_none_or(|files| (c.sockets as u64) < files));
                prop_assert!(c.margin() <= c.sockets - c.for_streams);
            }
        }
    }
}
