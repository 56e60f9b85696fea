//! Rules about the sources themselves: who may import whom, what is pure, how long a file may be.

mod files;
mod imports;
mod log_keys;
mod scan;
