//! The media types that the broker distinguishes (RFC 9110, section 8.3.1), case-insensitive. Pure.

/// A media type without its parameters, in lower case.
pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether `essence` is JSON: `application/json`, or a type with the suffix `+json` (RFC 6839).
pub(crate) fn is_json(essence: &str) -> bool {
    essence.ends_with("/json") || essence.ends_with("+json")
}

/// Whether `essence` is JSON lines, one value per line. No media type is registered for it, so all spellings in use are accepted:
/// `application/x-ndjson`, `application/jsonl`, `text/x-jsonlines`, `application/vnd.x+ndjson` and similar.
pub(crate) fn is_json_lines(essence: &str) -> bool {
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let named = |part: &str| {
        let name = part.strip_prefix("x-").unwrap_or(part);
        matches!(name, "ndjson" | "nd-json" | "jsonl" | "jsonlines" | "json-lines" | "ldjson")
    };
    matches!(kind, "application" | "text")
        && (subtype == "stream+json" || subtype.split('+').any(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_json_lines_is_accepted_and_nothing_else() {
        for spelling in [
            "application/x-ndjson",
            "application/ndjson",
            "Application/X-NDJSON; charset=utf-8",
            "application/jsonl",
            "application/x-jsonl",
            "application/jsonlines",
            "application/x-jsonlines",
            "application/json-lines",
            "application/x-ldjson",
            "application/jsonlines+json",
            "application/vnd.example+x-ndjson; version=8",
            "application/stream+json",
            "text/x-ndjson",
            "text/jsonl",
        ] {
            assert!(is_json_lines(&essence(spelling)), "{spelling}");
        }
        for other in [
            "application/json",
            "text/plain",
            "image/x-ndjson",
            "ndjson",
            "",
            "application/ld+json",
        ] {
            assert!(!is_json_lines(&essence(other)), "{other}");
        }
    }
}
