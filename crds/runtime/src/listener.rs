//! Classifies errors of `accept(2)`.

use std::io;

use rustix::io::Errno;

/// Whether the listener itself is broken and will never accept again. Other errors concern one connection, or disappear once file
/// descriptors or memory are available again.
#[must_use]
pub fn is_broken(error: &io::Error) -> bool {
    let broken = [Errno::BADF, Errno::INVAL, Errno::NOTSOCK, Errno::OPNOTSUPP, Errno::FAULT];
    Errno::from_io_error(error).is_some_and(|errno| broken.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_files_is_temporary_and_an_invalid_socket_is_not() {
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
        assert!(!is_broken(&io::Error::other("another error")));
    }
}
