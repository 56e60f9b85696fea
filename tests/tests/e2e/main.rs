//! The chart installed in a whole cluster: `make e2e`.

mod e2e_install;
