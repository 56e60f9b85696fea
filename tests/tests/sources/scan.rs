//! Reads a Rust file as far as the rules need it: the paths that its code names, without comments, strings and tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use eventcast_tests::repository;

/// A path as it stands in the code, `use` trees taken apart: `crate::log::Nats`, `std::fs::read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodePath {
    pub(crate) segments: Vec<String>,
    /// The module, from the crate's root, that `self` and `super` start from.
    pub(crate) module: Vec<String>,
    pub(crate) line: usize,
}

/// A file of a crate.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// From the root of the repository.
    pub(crate) file: String,
    pub(crate) paths: Vec<CodePath>,
}

/// The files of a crate's library, without its program and its tests. `folder` is its `src`, from the root of the repository.
pub(crate) fn library(folder: &str) -> Result<Vec<Source>> {
    let root = repository().join(folder);
    let mut files: Vec<PathBuf> = rust_files(&root)?;
    files.sort();
    let mut sources = Vec::new();
    let mut left_out = vec![vec!["main".to_owned()]];
    for file in &files {
        let text = fs::read_to_string(file)?;
        let module = module_of(file.strip_prefix(&root)?);
        let scanned = scan(&text, &module);
        left_out.extend(scanned.test_modules);
        if module == ["main"] {
            left_out.extend(scanned.modules); // the program's own
        } else {
            let file = format!("{folder}/{}", file.strip_prefix(&root)?.display());
            sources.push((module, Source { file, paths: scanned.paths }));
        }
    }
    sources.retain(|(module, _)| !left_out.iter().any(|out| module.starts_with(out)));
    Ok(sources.into_iter().map(|(_, source)| source).collect())
}

/// All Rust files below a folder, but for what was built or installed there.
pub(crate) fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.ends_with("target") || path.ends_with("node_modules") {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// `log/tail.rs`: `[log, tail]`; `lib.rs`: the root.
fn module_of(file: &Path) -> Vec<String> {
    let names = file.with_extension("");
    let names: Vec<String> = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names == ["lib"] { Vec::new() } else { names }
}

#[derive(Debug, Default)]
struct Scanned {
    paths: Vec<CodePath>,
    /// Modules that are declared here and stand in files of their own.
    modules: Vec<Vec<String>>,
    /// Of these, those that are compiled for tests alone.
    test_modules: Vec<Vec<String>>,
}

fn scan(text: &str, module: &[String]) -> Scanned {
    let tokens = tokens(text);
    let mut reader = Reader { tokens: &tokens, at: 0, scanned: Scanned::default() };
    reader.items(module);
    reader.scanned
}

/// Walks over the tokens of a file.
struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    scanned: Scanned,
}

impl Reader<'_> {
    fn text(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text.as_str())
    }

    fn is_next(&self, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(ahead, text)| self.text(ahead) == *text)
    }

    /// Everything up to the brace that closes the block at hand, or the end of the file.
    fn items(&mut self, module: &[String]) {
        let mut depth = 0;
        while self.at < self.tokens.len() {
            if self.is_next(&["#", "[", "cfg", "(", "test", ")", "]"]) {
                self.at += 7;
                self.skip_test_item(module);
            } else if self.text(0) == "mod" && self.text(2) == "{" {
                let inner = [module, &[self.text(1).to_owned()]].concat();
                self.at += 3;
                self.items(&inner);
            } else if self.text(0) == "mod" && self.text(2) == ";" {
                self.scanned.modules.push([module, &[self.text(1).to_owned()]].concat());
                self.at += 3;
            } else if self.text(0) == "use" {
                self.at += 1;
                self.use_tree(&[], module);
            } else if is_name(self.text(0)) {
                self.code_path(module);
            } else {
                match self.text(0) {
                    "{" => depth += 1,
                    "}" if depth == 0 => {
                        self.at += 1;
                        return;
                    }
                    "}" => depth -= 1,
                    _ => {}
                }
                self.at += 1;
            }
        }
    }

    /// An item after `#[cfg(test)]`, which may have further attributes.
    fn skip_test_item(&mut self, module: &[String]) {
        if self.text(0) == "mod" && self.text(2) == ";" {
            self.scanned.test_modules.push([module, &[self.text(1).to_owned()]].concat());
        }
        let mut depth = 0;
        while self.at < self.tokens.len() {
            let text = self.text(0).to_owned();
            self.at += 1;
            match text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => {
                    depth -= 1;
                    if depth == 0 && text == "}" {
                        return;
                    }
                }
                ";" if depth == 0 => return,
                _ => {}
            }
        }
    }

    /// `a::b`, `a::{b, c::d}`, `a::*`, `a as b`.
    fn use_tree(&mut self, prefix: &[String], module: &[String]) {
        let (mut segments, line) =
            (prefix.to_vec(), self.tokens.get(self.at).map_or(0, |t| t.line));
        loop {
            match self.text(0) {
                "{" => {
                    self.at += 1;
                    while self.text(0) != "}" && self.at < self.tokens.len() {
                        self.use_tree(&segments, module);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "as" => self.at += 2,
                "::" => self.at += 1,
                name if is_name(name) || name == "*" => {
                    segments.push(name.to_owned());
                    self.at += 1;
                }
                _ => break,
            }
        }
        if segments.len() > prefix.len() {
            self.scanned.paths.push(CodePath { segments, module: module.to_vec(), line });
        } else {
            self.at += 1; // nothing that belongs into a `use`
        }
    }

    fn code_path(&mut self, module: &[String]) {
        let line = self.tokens[self.at].line;
        let mut segments = vec![self.text(0).to_owned()];
        self.at += 1;
        while self.text(0) == "::" && is_name(self.text(1)) {
            segments.push(self.text(1).to_owned());
            self.at += 2;
        }
        if segments.len() > 1 {
            self.scanned.paths.push(CodePath { segments, module: module.to_vec(), line });
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[derive(Debug)]
struct Token {
    text: String,
    line: usize,
}

/// Names, `::` and single characters; comments, strings and characters are left out.
fn tokens(text: &str) -> Vec<Token> {
    let (characters, mut tokens) = (text.chars().collect::<Vec<_>>(), Vec::new());
    let (mut at, mut line) = (0, 1);
    while at < characters.len() {
        let rest = &characters[at..];
        let length = match rest {
            ['/', '/', ..] => until(rest, &['\n']),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] | ['b' | 'c', '"', ..] => string(rest),
            ['r', '"' | '#', ..] | ['b' | 'c', 'r', '"' | '#', ..] if raw_string(rest) > 0 => {
                raw_string(rest)
            }
            ['\'', '\\', ..] => 3 + until(&rest[3..], &['\'']),
            ['\'', _, '\'', ..] => 3,
            [':', ':', ..] => {
                tokens.push(Token { text: "::".to_owned(), line });
                2
            }
            [first, ..] if first.is_alphanumeric() || *first == '_' => {
                let name = |c: &&char| c.is_alphanumeric() || **c == '_';
                let length = rest.iter().take_while(name).count();
                tokens.push(Token { text: rest[..length].iter().collect(), line });
                length
            }
            [first, ..] => {
                if !first.is_whitespace() {
                    tokens.push(Token { text: first.to_string(), line });
                }
                1
            }
            [] => 0,
        };
        let end = (at + length).min(characters.len());
        line += characters[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

/// Characters up to and with the first of `ends`.
fn until(text: &[char], ends: &[char]) -> usize {
    text.iter().position(|c| ends.contains(c)).map_or(text.len(), |at| at + 1)
}

fn block_comment(text: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(text: &[char]) -> usize {
    let mut at = until(text, &['"']);
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The length of `r"…"`, `r#"…"#`, `br"…"`; 0 where there is no such string.
fn raw_string(text: &[char]) -> usize {
    let letters = text.iter().take_while(|c| c.is_alphabetic()).count();
    let hashes = text[letters..].iter().take_while(|c| **c == '#').count();
    if text.get(letters + hashes) != Some(&'"') {
        return 0;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let inside = &text[letters + hashes + 1..];
    let closed = inside.windows(end.len()).position(|window| window == end);
    letters + hashes + 1 + closed.map_or(inside.len(), |at| at + end.len())
}

#[test]
fn the_scanner_finds_paths_and_nothing_in_comments_strings_and_tests() {
    let text = r##"
//! crate::not
use crate::{log::{Nats, tail::*}, http as web};
/* use crate::not; /* nested */ */
mod inner { use super::broker; }
fn f<'a>(x: &'a str) { let s = "crate::not"; let c = '"'; let r = r#"crate::not"#; crate::drain::go(x); }
#[cfg(test)]
mod tests { use super::not; fn g() { crate::not::x() } }
#[cfg(test)]
mod apart;
fn h() { std::fs::read(s) }
"##;
    let scanned = scan(text, &["server".to_owned()]);
    let paths: Vec<_> = scanned.paths.iter().map(|p| (p.segments.join("::"), p.line)).collect();
    let wanted = [
        ("crate::log::Nats", 3),
        ("crate::log::tail::*", 3),
        ("crate::http", 3),
        ("super::broker", 5),
        ("crate::drain::go", 6),
        ("std::fs::read", 11),
    ];
    assert_eq!(paths, wanted.map(|(path, line)| (path.to_owned(), line)));
    assert_eq!(scanned.paths[3].module, ["server", "inner"]);
    assert_eq!(scanned.test_modules, [["server", "apart"]]);
}
