//! The blocks of a page, and the comparison of what commands print with what the page says.

/// A block between fences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Number of the fence's line.
    pub(super) line: usize,
    /// What stands after the fence.
    pub(super) language: String,
    pub(super) text: String,
}

/// All blocks of a page, in order.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None::<Block>);
    for (n, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                let language = language.trim().to_owned();
                open = Some(Block { line: n + 1, language, text: String::new() });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text += line;
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Whether `printed` is `expected`, in which `…` stands for any text.
pub(super) fn matches(expected: &str, printed: &str) -> bool {
    let (expected, printed) = (expected.trim(), printed.trim());
    let pieces = pieces(expected);
    let [first, .., last] = &pieces[..] else { return expected == printed };
    let Some(rest) = printed.strip_prefix(first) else { return false };
    let Some(middle) = rest.strip_suffix(last) else { return false };
    end_of(&pieces[1..pieces.len() - 1], middle).is_some()
}

/// Where the text ends that begins anywhere in `printed` and is `expected`.
pub(super) fn found(expected: &str, printed: &str) -> Option<usize> {
    end_of(&pieces(expected.trim()), printed)
}

/// What stands between the `…`. A line with `…` alone stands for any number of lines.
fn pieces(expected: &str) -> Vec<&str> {
    expected.split('…').map(|piece| piece.trim_matches('\n')).collect()
}

/// The end of the last of `pieces`, each of which follows the one before.
fn end_of(pieces: &[&str], text: &str) -> Option<usize> {
    let mut at = 0;
    for piece in pieces {
        at += text[at..].find(piece)? + piece.len();
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_their_language_and_text() {
        let page = "a\n```sh\ncurl\n```\nb\n```text stream\n…\n```\n";
        let block = |line, language: &str, text: &str| Block {
            line,
            language: language.into(),
            text: text.into(),
        };
        assert_eq!(blocks(page), [block(2, "sh", "curl\n"), block(6, "text stream", "…\n")]);
    }

    #[test]
    fn three_dots_stand_for_any_text_and_nothing_else_does() {
        assert!(matches(
            "{\"cursor\":\"…\",\"duplicate\":false}\n",
            "{\"cursor\":\"a-1\",\"duplicate\":false}"
        ));
        assert!(!matches(
            "{\"cursor\":\"…\",\"duplicate\":false}",
            "{\"cursor\":\"a-1\",\"duplicate\":true}"
        ));
        assert!(matches("a\n…\nd", "a\nb\nc\nd"));
        assert!(matches("…\na\n…", "\na"));
        assert!(!matches("a…a", "a"), "the parts may not overlap");
        assert!(!matches("a", "b\na"));
        assert_eq!(found("data: b", "data: a\n\ndata: b\n\n"), Some(16));
        assert_eq!(found("data: c", "data: a\n\ndata: b\n\n"), None);
    }
}
