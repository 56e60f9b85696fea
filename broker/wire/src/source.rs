//! Patterns for the sources of events. Sources are URI references or free names without segments, so `*` matches any number of any
//! characters. Pure.

/// The maximum length of a source pattern, in bytes: the longest source with every character escaped.
pub const MAX_SOURCE_PATTERN_BYTES: usize = 2 * crate::event::MAX_SOURCE_BYTES;

/// A pattern for sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePattern {
    /// The literal texts between the wildcards; one text if there is no wildcard.
    texts: Vec<String>,
}

impl SourcePattern {
    /// Parses a pattern: `*` matches any characters, `\*` an asterisk and `\\` a backslash. `None` if it is empty or too long.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > MAX_SOURCE_PATTERN_BYTES {
            return None;
        }
        let mut texts = vec![String::new()];
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let escaped = chars.peek().copied().filter(|next| c == '\\' && "*\\".contains(*next));
            match (escaped, texts.last_mut()) {
                (Some(next), Some(last)) => {
                    last.push(next);
                    chars.next();
                }
                (None, Some(last)) if c != '*' => last.push(c),
                _ => texts.push(String::new()),
            }
        }
        Some(Self { texts })
    }

    /// Whether `source` matches. Each text is searched once, after the previous one, so the time is linear for any number of
    /// wildcards. Glob libraries do not guarantee that.
    pub fn matches(&self, source: &str) -> bool {
        let [first, middle @ .., last] = &*self.texts else {
            return self.texts.first().is_some_and(|text| text == source);
        };
        let Some(mut rest) = source.strip_prefix(&**first) else { return false };
        for text in middle {
            let Some(at) = rest.find(&**text) else { return false };
            rest = &rest[at + text.len()..];
        }
        rest.ends_with(&**last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, source: &str) -> bool {
        SourcePattern::parse(pattern).unwrap().matches(source)
    }

    #[test]
    fn an_asterisk_matches_any_characters() {
        for (pattern, source) in [
            ("/devices/*", "/devices/7"),
            ("/devices/*", "/devices/7/temperature"),
            ("/devices/*", "/devices/"),
            ("*", "https://a.example/b?c=d"),
            ("com.example.*", "com.example.shop.eu"),
            ("https://*.example/*/x", "https://a.b.example/1/2/x"),
            ("*a*", "banana"),
            ("a*a", "aa"),
            ("/s", "/s"),
            (r"/\*", "/*"),
            (r"C:\dev\1", r"C:\dev\1"),
            (r"\\\\host\\*", r"\\host\share"),
            (r"\\*", r"\x"),
            ("?[a-z]{b}", "?[a-z]{b}"),
        ] {
            assert!(matches(pattern, source), "{pattern} {source}");
        }
        for (pattern, source) in [
            ("/devices/*", "/devices"),
            ("/devices/*", "/device/7"),
            ("/s", "/s2"),
            (r"/\*", "/x"),
            ("a*a", "a"),
            ("xy*yx", "xyx"),
            ("*b", "ba"),
            ("/S", "/s"),
        ] {
            assert!(!matches(pattern, source), "{pattern} {source}");
        }
        assert!(SourcePattern::parse("").is_none());
        assert!(SourcePattern::parse(&"x".repeat(MAX_SOURCE_PATTERN_BYTES + 1)).is_none());
    }

    proptest! {
        #[test]
        fn an_escaped_source_is_asked_for_exactly(source in "[ab*\\\\/é]{1,12}", other in "[ab*\\\\/é]{1,12}") {
            let exact = source.replace('\\', r"\\").replace('*', r"\*");
            prop_assert!(matches(&exact, &source));
            prop_assert_eq!(matches(&exact, &other), source == other);
        }

        #[test]
        fn it_selects_what_trying_everything_selects(pattern in "[ab*]{1,6}", source in "[ab]{1,8}") {
            fn slow(p: &[u8], s: &[u8]) -> bool {
                match (p, s) {
                    ([], []) => true,
                    ([b'*', p @ ..], s) => (0..=s.len()).any(|i| slow(p, &s[i..])),
                    ([a, p @ ..], [b, s @ ..]) => a == b && slow(p, s),
                    _ => false,
                }
            }
            prop_assert_eq!(matches(&pattern, &source), slow(pattern.as_bytes(), source.as_bytes()));
        }
    }

    #[test]
    fn the_longest_source_can_be_asked_for_with_every_character_escaped() {
        let longest = "*".repeat(crate::event::MAX_SOURCE_BYTES);
        assert!(matches(&longest.replace('*', r"\*"), &longest));
    }
}
