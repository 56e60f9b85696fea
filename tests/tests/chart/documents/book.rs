//! The book: every page of `docs` is in it once, and what pages claim of pictures, JSON, tests and reasons is there.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{chart, repository};
use serde_json::Value;

use super::{links::targets, pages};

#[test]
fn every_page_of_docs_is_in_the_book_once() -> Result<()> {
    let summary = chart::read("docs/SUMMARY.md")?;
    let mut listed: Vec<_> = summary.lines().flat_map(targets).collect();
    listed.sort();
    let mut there: Vec<_> = pages()?
        .iter()
        .filter_map(|page| page.path.strip_prefix("docs").ok())
        .map(|path| path.display().to_string())
        .filter(|path| path != "SUMMARY.md")
        .collect();
    there.sort();
    let (listed, there) = (listed.join("\n"), there.join("\n"));
    ensure!(listed == there, "docs/SUMMARY.md lists\n{listed}\nand docs has\n{there}");
    Ok(())
}

#[test]
fn every_picture_is_shown_and_drawings_have_a_title() -> Result<()> {
    let pages = pages()?;
    let mut shown = BTreeSet::new();
    for page in &pages {
        for target in page.prose().flat_map(|(_, line)| targets(line)) {
            if target.contains("pictures/") {
                shown.insert(target.rsplit('/').next().unwrap_or_default().to_owned());
            }
        }
    }
    for entry in fs::read_dir(repository().join("docs/pictures"))? {
        let path = entry?.path();
        let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
        ensure!(shown.contains(&name), "no page shows {name}");
        if !name.ends_with(".svg") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let whole = text.starts_with("<svg ") && text.trim_end().ends_with("</svg>");
        ensure!(whole && text.contains("<title>") && text.contains("<desc>"), "{name}");
    }
    Ok(())
}

#[test]
fn json_in_the_documents_can_be_parsed() -> Result<()> {
    let mut found = 0;
    for page in pages()? {
        for (line, block) in page.blocks("json") {
            for value in serde_json::Deserializer::from_str(&block).into_iter::<Value>() {
                value.with_context(|| page.place(line))?;
                found += 1;
            }
        }
    }
    ensure!(found > 5, "only {found} blocks");
    Ok(())
}

/// `module::test`: a promise of a page names the test that holds it.
#[test]
fn tests_that_pages_name_exist() -> Result<()> {
    let suites = ["wire", "faults", "kube", "proxies", "e2e", "browsers", "chart"];
    let exists = |module: &str, test: &str| {
        suites.iter().any(|suite| {
            let file = repository().join(format!("tests/tests/{suite}/{module}.rs"));
            let text = fs::read_to_string(file).unwrap_or_default();
            text.contains(&format!("fn {test}("))
        })
    };
    let mut found = 0;
    for name in ["README.md", "docs/explain/guarantees.md"] {
        let text = chart::read(name)?;
        for line in text.lines().filter(|line| line.starts_with('|')) {
            for code in line.split('`').skip(1).step_by(2) {
                let Some((module, test)) = code.split_once("::") else { continue };
                ensure!(exists(module, test), "{name}: there is no test {code}");
                found += 1;
            }
        }
    }
    ensure!(found > 20, "only {found} tests");
    Ok(())
}

/// Messages and comments of the programs point to pages.
#[test]
fn pages_that_the_sources_name_exist() -> Result<()> {
    let mut folders = ["broker", "operator", "crds"].map(|name| repository().join(name)).to_vec();
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                for rest in fs::read_to_string(&path)?.split("docs/").skip(1) {
                    let end =
                        rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/-_.".contains(c)));
                    let name = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
                    if name.ends_with(".md") {
                        let page = repository().join("docs").join(name);
                        ensure!(page.is_file(), "{}: no docs/{name}", path.display());
                        found += 1;
                    }
                }
            }
        }
    }
    ensure!(found > 0, "no page is named");
    Ok(())
}
