//! What makes a release: the scripts of charts/release with the built command line, the workflows that call them, and the forms and update
//! configuration of GitHub.

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command,
};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{chart, process, repository};
use serde_json::Value;

const VERSION: &str = env!("CARGO_PKG_VERSION"); // of the workspace

fn script(name: &str) -> Command {
    Command::new(repository().join("charts/release").join(name))
}

fn yaml(text: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(text)?)
}

fn workflows() -> Result<Vec<(String, String)>> {
    let files = chart::files(".github/workflows", ".yml")?;
    files.iter().map(|file| Ok((chart::stem(file), fs::read_to_string(file)?))).collect()
}

/// The words of a text that begin with `start`, without the punctuation around them.
fn words<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let separators = |c: char| c.is_whitespace() || "\"'`$();|&,".contains(c);
    text.split(separators).filter(move |word| word.starts_with(start))
}

#[test]
fn a_release_begins_only_with_the_tag_of_its_version() -> Result<()> {
    chart::run(&mut script("check.sh"))?;
    let refused = chart::run(script("check.sh").arg("v99.0.0")).expect_err("another tag");
    ensure!(refused.to_string().contains(&format!("the tag of a release is v{VERSION}")));
    Ok(())
}

#[test]
fn the_present_version_has_notes_whose_links_work_outside_of_the_repository() -> Result<()> {
    let notes = chart::run(&mut script("notes.sh"))?;
    let (changes, install) = notes.split_once("### Install").context("no installation")?;
    ensure!(changes.lines().any(|line| line.starts_with("- ")), "no changes: {changes}");
    ensure!(install.contains(&format!("--version {VERSION}")), "another version: {install}");
    let relative = notes.split("](").skip(1).find(|link| !link.starts_with("https://"));
    ensure!(relative.is_none(), "a relative link: {relative:?}");
    let unknown = chart::run(script("notes.sh").arg("99.0.0")).expect_err("no such version");
    ensure!(unknown.to_string().contains("CHANGELOG.md says nothing about 99.0.0"));
    Ok(())
}

#[test]
fn an_archive_of_the_command_line_is_complete_and_is_the_one_that_krew_installs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [programs, files] = ["programs", "files"].map(|name| folder.path().join(name));
    let platform = match std::env::consts::ARCH {
        "aarch64" => "linux-arm64",
        _ => "linux-amd64",
    };
    let built = programs.join(platform);
    fs::create_dir_all(&built)?;
    // without the symbols of a test build, which would take long to compress
    let mut strip = Command::new("strip");
    chart::run(strip.arg("-o").arg(built.join("eventcast")).arg(process::built("eventcast")))?;
    chart::run(script("archives.sh").args([&programs, &files]))?;

    let name = format!("eventcast-{VERSION}-{platform}.tar.gz");
    let archive = files.join(&name);
    let listed = chart::run(Command::new("tar").arg("-tzf").arg(&archive))?;
    let wanted = ["eventcast", "LICENSE", "completions/_eventcast", "man/eventcast-sub.1"];
    for file in wanted {
        ensure!(listed.lines().any(|line| line == file), "{name} has no {file}: {listed}");
    }

    let plugin = yaml(&fs::read_to_string(files.join("eventcast.yaml"))?)?;
    assert_eq!(plugin["metadata"]["name"], "eventcast");
    assert_eq!(plugin["spec"]["version"], format!("v{VERSION}"));
    let platforms = plugin["spec"]["platforms"].as_array().context("no platforms")?;
    let [only] = platforms.as_slice() else { panic!("one has been built: {platforms:?}") };
    let sum = chart::run(Command::new("sha256sum").arg(&archive))?;
    assert_eq!(only["sha256"], sum.split(' ').next().unwrap_or_default());
    let releases = "https://github.com/eventcast/eventcast/releases/download";
    assert_eq!(only["uri"], format!("{releases}/v{VERSION}/{name}"));
    assert_eq!(only["bin"], "eventcast");
    Ok(())
}

#[test]
fn the_workflow_and_the_rehearsal_of_a_release_run_the_same_scripts() -> Result<()> {
    let called = |text: &str, prefix: &str| -> BTreeSet<String> {
        let paths = words(text, prefix).filter_map(|word| word.strip_prefix(prefix));
        paths.filter(|path| path.ends_with(".sh")).map(str::to_owned).collect()
    };
    let mut workflow = called(&chart::read(".github/workflows/release.yml")?, "charts/release/");
    let mut rehearsal = called(&chart::read("charts/release/rehearse.sh")?, "release/");
    assert_eq!(workflow, rehearsal);
    workflow.extend(["lib.sh".to_owned(), "rehearse.sh".to_owned()]);
    rehearsal.clear();
    for file in chart::files("charts/release", ".sh")? {
        rehearsal.insert(file.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    assert_eq!(workflow, rehearsal, "a script that no release runs");
    Ok(())
}

#[test]
fn workflows_run_what_exists() -> Result<()> {
    let makefile = chart::read("Makefile")?;
    for (name, text) in workflows()? {
        for path in words(&text, "charts/").chain(words(&text, "tests/tools/")) {
            if path.ends_with(".sh") {
                let mode = fs::metadata(repository().join(path))
                    .with_context(|| format!("{name} runs {path}, which does not exist"))?
                    .permissions()
                    .mode();
                ensure!(mode & 0o111 == 0o111, "{name} runs {path}, which is not executable");
            }
        }
        for (_, target) in text.lines().filter_map(|line| line.split_once("make ")) {
            let target = target.split([' ', '`']).next().unwrap_or_default();
            ensure!(
                makefile.lines().any(|line| line.starts_with(&format!("{target}:"))),
                "{name} makes {target}, which the Makefile does not have"
            );
        }
    }
    Ok(())
}

#[test]
fn actions_are_pinned_by_digest_with_their_version_beside_it() -> Result<()> {
    for (name, text) in workflows()? {
        for (_, used) in text.lines().filter_map(|line| line.split_once("uses: ")) {
            let (_, pin) = used.split_once('@').with_context(|| format!("{name}: {used}"))?;
            let (digest, version) =
                pin.split_once(" # v").with_context(|| format!("{name}: no version: {used}"))?;
            let is_digest = digest.len() == 40 && digest.bytes().all(|b| b.is_ascii_hexdigit());
            ensure!(is_digest && !version.is_empty(), "{name}: not pinned: {used}");
        }
    }
    Ok(())
}

/// Whether a folder is that of dependabot.yml, or one of those below `folder/*`.
fn covers(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(parent) => Path::new(folder).parent() == Some(Path::new(parent)),
        None => pattern == folder,
    }
}

#[test]
fn every_folder_with_dependencies_is_kept_up_to_date() -> Result<()> {
    let config = yaml(&chart::read(".github/dependabot.yml")?)?;
    let mut covered = BTreeSet::new();
    for update in config["updates"].as_array().context("no updates")? {
        let ecosystem = update["package-ecosystem"].as_str().context("no ecosystem")?;
        let folders = match &update["directories"] {
            Value::Array(folders) => folders.clone(),
            _ => vec![update["directory"].clone()],
        };
        for folder in folders {
            let folder = folder.as_str().context("no folder")?.trim_start_matches('/').to_owned();
            covered.insert((ecosystem.to_owned(), folder));
        }
    }
    let files = [
        ("cargo", "Cargo.lock"),
        ("gomod", "go.mod"),
        ("npm", "package-lock.json"),
        ("pip", "requirements.txt"),
        ("docker", "Dockerfile"),
    ];
    let mut present = BTreeSet::from([("github-actions".to_owned(), String::new())]);
    let listed = chart::run(Command::new("git").arg("-C").arg(repository()).arg("ls-files"))?;
    for path in listed.lines().map(Path::new) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for (ecosystem, _) in files.iter().filter(|(_, file)| *file == name) {
            let folder = path.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
            present.insert(((*ecosystem).to_owned(), folder));
        }
    }
    for (ecosystem, folder) in &present {
        ensure!(
            covered.iter().any(|(of, pattern)| of == ecosystem && covers(pattern, folder)),
            "dependabot.yml does not cover /{folder} ({ecosystem})"
        );
    }
    for (ecosystem, pattern) in covered.iter().filter(|(_, pattern)| !pattern.ends_with("/*")) {
        let entry = (ecosystem.clone(), pattern.clone());
        ensure!(present.contains(&entry), "/{pattern} has nothing for {ecosystem}");
    }
    Ok(())
}

#[test]
fn issue_forms_ask_for_what_the_command_line_prints() -> Result<()> {
    let commands = chart::run(Command::new(process::built("eventcast")).arg("--help"))?;
    let mut asked = BTreeSet::new();
    for file in chart::files(".github/ISSUE_TEMPLATE", ".yml")? {
        let text = fs::read_to_string(&file)?;
        let form = yaml(&text)?;
        ensure!(form.is_object(), "{} is not a form", file.display());
        for (_, command) in text.lines().filter_map(|line| line.split_once("`eventcast ")) {
            let command = command.split([' ', '`']).next().unwrap_or_default();
            let known = commands.lines().any(|line| line.contains(command));
            ensure!(known, "{} asks for `eventcast {command}`", file.display());
            asked.insert(command.to_owned());
        }
    }
    for command in ["status", "check"] {
        ensure!(asked.contains(command), "no form asks for `eventcast {command}`: {asked:?}");
    }
    Ok(())
}
