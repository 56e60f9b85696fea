//! Links lead to files and headings that exist.

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use eventcast_tests::{chart, repository};

use super::{Page, pages};

/// The part of our URLs before a path.
const OURS: &str = "https://github.com/eventcast/eventcast/blob/main/";

/// The targets of the links of a line. Code has none.
pub(super) fn targets(line: &str) -> Vec<String> {
    let text: String = line.split('`').step_by(2).collect();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.map(str::to_owned).collect()
}

/// A heading as GitHub's anchor.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The anchors of a page.
fn anchors(page: &Page) -> BTreeSet<String> {
    let headings = page.prose().filter_map(|(_, line)| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len() && heading.starts_with(' ')).then(|| anchor(heading))
    });
    headings.collect()
}

/// Whether there is such a file, and such a heading in it.
fn exists(pages: &[Page], path: &PathBuf, heading: Option<&str>) -> Result<()> {
    let file = repository().join(path);
    let file = file.canonicalize().with_context(|| format!("no {}", path.display()))?;
    let Some(heading) = heading else { return Ok(()) };
    let root = repository().canonicalize()?;
    let page = pages.iter().find(|page| root.join(&page.path) == file);
    let page = page.with_context(|| format!("{} is no page", path.display()))?;
    ensure!(anchors(page).contains(heading), "{} has no heading #{heading}", path.display());
    Ok(())
}

#[test]
fn links_lead_to_files_and_headings_that_exist() -> Result<()> {
    let pages = pages()?;
    let mut broken = Vec::new();
    for page in &pages {
        for (n, line) in page.prose() {
            for target in targets(line) {
                let (path, heading) = match target.split_once('#') {
                    Some((path, heading)) => (path, Some(heading)),
                    None => (target.as_str(), None),
                };
                let path = match path.strip_prefix(OURS) {
                    Some(ours) => PathBuf::from(ours),
                    None if path.contains("://") => continue,
                    None if path.is_empty() => page.path.clone(),
                    None => page.path.parent().unwrap_or(&page.path).join(path),
                };
                let is_folder = repository().join(&path).is_dir();
                if is_folder && page.path.starts_with("docs") && !target.contains("..") {
                    broken.push(format!("{}: the book has no page for {target}", page.place(n)));
                }
                if let Err(error) = exists(&pages, &path, heading) {
                    broken.push(format!("{}: {error:#}", page.place(n)));
                }
            }
        }
    }
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

/// Alerts, dashboards and the chart link to pages by URL.
#[test]
fn urls_of_pages_in_the_chart_lead_to_files_and_headings_that_exist() -> Result<()> {
    let pages = pages()?;
    let mut files = vec![chart::folder().join("Chart.yaml"), chart::folder().join("values.yaml")];
    for folder in ["files", "files/dashboards", "files/slo", "templates"] {
        files.extend(chart::files(&format!("charts/eventcast/{folder}"), "")?);
    }
    let mut found = 0;
    for file in files.into_iter().filter(|file| file.is_file()) {
        for rest in fs::read_to_string(&file)?.split(OURS).skip(1) {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "/._#-".contains(c)));
            let target = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
            if target.is_empty() || target.ends_with('/') {
                continue; // the rest of the URL is made by a template
            }
            let (path, heading) = target.split_once('#').unwrap_or((target, ""));
            let heading = (!heading.is_empty()).then_some(heading);
            exists(&pages, &PathBuf::from(path), heading)
                .with_context(|| file.display().to_string())?;
            found += 1;
        }
    }
    ensure!(found > 10, "only {found} URLs");
    Ok(())
}
