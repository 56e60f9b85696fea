//! What a failed accept(2) says about its listener.

use std::io;

use rustix::io::Errno;

/// Whether the listener itself is broken, so that it will never accept again. Other errors are about one connection, or pass when
/// file descriptors or memory are to be had again.
#[must_use]
pub fn is_broken(error: &io::Error) -> bool {
    let broken = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP, Errno::FAULT];
    Errno::from_io_error(error).is_some_and(|errno| broken.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_files_passes_and_a_socket_that_listens_no_more_does_not() {
        for (errno, broken) in [
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOMEM, false),
            (Errno::CONNABORTED, false),
            (Errno::PERM, false),
            (Errno::INVAL, true),
            (Errno::BADF, true),
        ] {
            assert_eq!(is_broken(&errno.into()), broken, "{errno}");
        }
        assert!(!is_broken(&io::Error::other("of our own")));
    }
}
