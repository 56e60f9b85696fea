//! Formats an error together with its sources.

use std::{error::Error, fmt};

/// Displays an error and its sources in one line, such as `failed to read /x: permission denied`.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Many libraries repeat the source in the text of the error itself.
            if !last.contains(&text) {
                write!(f, ": {text}")?;
                last = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (text, rest) = texts.split_first()?;
        Some(Box::new(Layer { text, source: layers(rest) }))
    }

    #[test]
    fn every_source_is_displayed_once() {
        let chain = |texts: &[&'static str]| Chain(&*layers(texts).unwrap()).to_string();
        assert_eq!(chain(&["failed to read /x"]), "failed to read /x");
        assert_eq!(
            chain(&["failed to read /x", "denied", "by whom"]),
            "failed to read /x: denied: by whom"
        );
        assert_eq!(
            chain(&["TLS error: bad key", "bad key", "line 3"]),
            "TLS error: bad key: line 3"
        );
    }
}
