//! `eventcast man`.

use std::path::PathBuf;

use crate::{failure::Failure, output};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Write the pages of all commands into this directory.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Prints or writes the pages of `program`.
pub(crate) fn run(options: &Options, program: clap::Command) -> Result<(), Failure> {
    match &options.directory {
        Some(directory) => clap_mangen::generate_to(program, directory).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", directory.display()))
        }),
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(program).render(&mut page);
            rendered.map_err(|error| Failure::output(&error))?;
            output::print(&String::from_utf8_lossy(&page))
        }
    }
}
