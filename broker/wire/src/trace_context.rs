//! The trace that an event or a request belongs to: `traceparent` (W3C Trace Context). Pure.

use std::fmt;

/// The name of the header, and of the attribute of a CloudEvent.
pub const TRACEPARENT: &str = "traceparent";

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The ids of a span and its trace, and the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The id of the trace; not all zero.
    pub trace_id: [u8; 16],
    /// The id of the span that is the parent of what follows; not all zero.
    pub span_id: [u8; 8],
    /// The flags that this version knows: [`SAMPLED`](Self::SAMPLED) and [`RANDOM`](Self::RANDOM).
    pub flags: u8,
}

impl TraceContext {
    /// The caller may have recorded the trace.
    pub const SAMPLED: u8 = 1;
    /// The id of the trace is random.
    pub const RANDOM: u8 = 2;

    /// Parses a `traceparent`. Callers must ignore an invalid one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        // Later versions may have more fields, after a dash.
        let has_end =
            bytes.len() == LENGTH || (bytes.get(LENGTH) == Some(&b'-') && !text.starts_with("00"));
        let has_dashes = [2, 35, 52].into_iter().all(|at| bytes.get(at) == Some(&b'-'));
        if !has_end || !has_dashes {
            return None;
        }
        let [version]: [u8; 1] = hex(&bytes[..2])?;
        let (trace_id, span_id) = (hex(&bytes[3..35])?, hex(&bytes[36..52])?);
        let [flags]: [u8; 1] = hex(&bytes[53..55])?;
        if version == 0xff || trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id, span_id, flags: flags & (Self::SAMPLED | Self::RANDOM) })
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// The id of the trace in hexadecimal.
    #[must_use]
    pub fn trace_id_text(&self) -> String {
        Hex(&self.trace_id).to_string()
    }

    /// The id of the span in hexadecimal.
    #[must_use]
    pub fn span_id_text(&self) -> String {
        Hex(&self.span_id).to_string()
    }
}

/// A `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", Hex(&self.trace_id), Hex(&self.span_id), self.flags)
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Decodes lower-case hexadecimal.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01";

    #[test]
    fn a_valid_header_is_read_and_written_back() {
        let context = TraceContext::parse(VALID).unwrap();
        assert_eq!(context.to_string(), VALID);
        assert_eq!(context.trace_id_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id_text(), "00f067aa0b4902b7");
        assert!(context.is_sampled());
        let unsampled = VALID.replace("-01", "-00");
        assert_eq!(TraceContext::parse(&unsampled).map(|c| c.is_sampled()), Some(false));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let known = |text: &str| TraceContext::parse(text).map(|context| context.to_string());
        let later = VALID.replacen("00", "cc", 1);
        assert_eq!(known(&later).as_deref(), Some(VALID));
        assert_eq!(known(&format!("{later}-what-the-future-brings")).as_deref(), Some(VALID));
        let flags = VALID.replace("-01", "-ff");
        assert_eq!(known(&flags).as_deref(), Some(&*VALID.replace("-01", "-03")));
    }

    #[test]
    fn an_invalid_header_is_ignored() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01",
            "00-00000000000000000000000000000000-00f067aa0b4902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0b4902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-0x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01 ",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0b4902b7_01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b4902b7-01.more",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0b4902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_or_is_written_back_longer(text in "\\PC{0,80}") {
            if let Some(context) = TraceContext::parse(&text) {
                prop_assert_eq!(context.to_string().len(), LENGTH);
            }
        }

        #[test]
        fn every_context_is_read_back(trace_id: [u8; 16], span_id: [u8; 8], flags in 0u8..4) {
            prop_assume!(trace_id != [0; 16] && span_id != [0; 8]);
            let context = TraceContext { trace_id, span_id, flags };
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }
    }
}
