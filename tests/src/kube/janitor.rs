//! Removes a folder when this process has ended, however that happened.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};

/// Its input ends with us. Others may be writing to the folder for a moment yet.
const SCRIPT: &str =
    r#"read -r _; for try in 1 2 3 4 5; do rm -rf -- "$1" && exit; sleep 0.2; done"#;

/// A shell that waits for our end. Dropping it is our end too.
#[derive(Debug)]
pub(super) struct Janitor {
    _shell: Child,
}

impl Janitor {
    pub(super) fn hire(folder: &Path) -> Result<Self> {
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "janitor"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0); // Ctrl-C is not for it
        Ok(Self { _shell: command.spawn().context("failed to start sh")? })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::{eventually, process};

    #[tokio::test]
    async fn a_folder_goes_when_its_janitor_is_left_alone() {
        let folder = process::folder("eventcast-janitor-").unwrap();
        fs::write(folder.path().join("file"), "text").unwrap();
        let janitor = Janitor::hire(folder.path()).unwrap();
        assert!(folder.path().exists());
        drop(janitor);
        let gone = || std::future::ready((!folder.path().exists()).then_some(()));
        eventually("the folder is gone", Duration::from_secs(10), gone).await.unwrap();
    }
}
