//! Text for terminals. Pure.

/// A number of things: `1 event`, `2 events`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Text that cannot move the cursor of a terminal or change its colours: control characters are escaped.
pub(crate) fn printable(text: &str) -> String {
    let is_hidden =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "gap")), ["0 gaps", "1 gap", "2 gaps"]);
    }

    #[test]
    fn a_terminal_is_not_controlled_by_data() {
        assert_eq!(
            printable("a\u{1b}[31mb\r\nc\td\u{9b}é\u{202e}"),
            "a\\u{1b}[31mb\\r\\nc\\td\\u{9b}é\\u{202e}"
        );
    }
}
