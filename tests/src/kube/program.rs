//! Where the programs of Kubernetes are found.

use std::{env, path::PathBuf};

use crate::{process, repository};

/// A program that `tests/tools/install.sh` installs, in its order: `EVENTCAST_<PROGRAM>`, the folder `KUBEBUILDER_ASSETS`,
/// `PATH`, the tools folder of the repository.
///
/// # Panics
/// When it is not found; the message says what to run.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let variable = format!("EVENTCAST_{}", name.to_uppercase().replace('-', "_"));
    if let Some(file) = env::var_os(&variable).filter(|value| !value.is_empty()) {
        let file = PathBuf::from(file);
        assert!(file.is_file(), "{variable} is not a program: {}", file.display());
        return file;
    }
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(name));
    let tool = repository().join(".tools/bin").join(name);
    let places = [assets, process::find_on_path(name), Some(tool)];
    let found = places.into_iter().flatten().find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("no {name}: run tests/tools/install.sh, or set {variable}"))
}
