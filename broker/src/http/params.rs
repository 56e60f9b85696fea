//! Parses and checks query parameters, and the headers that have the same meaning. Pure: time is an argument.

pub(crate) mod known;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, str::FromStr};

use eventcast_wire::{
    cursor::Cursor,
    filter::{Asked, MAX_PATTERNS},
    source::{self, SourcePattern},
};
use http::{HeaderMap, Uri};
use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};
use crate::log::Start;
use known::KnownParams;

/// Events that `last:N` may ask for.
const MAX_LAST: usize = 1000;
/// Bytes of a query string.
const MAX_QUERY_BYTES: usize = 16 << 10;

/// Characters of an invalid pattern that are echoed to its client.
const MAX_ECHOED_PATTERN_CHARS: usize = 64;

/// The parameters of a query string, decoded.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// The parameters of a request to a resource that accepts those of `known`.
    ///
    /// # Errors
    /// The query is too long, or a parameter or header is unknown.
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap, known: &KnownParams) -> Result<Self, Problem> {
        let query = uri.query().unwrap_or_default();
        if query.len() > MAX_QUERY_BYTES {
            let detail = "The query is too long. Use fewer or shorter patterns.";
            return Err(Problem::new(Kind::TARGET_TOO_LONG, detail).with("limit", MAX_QUERY_BYTES));
        }
        let params = decode(query)?;
        known.check(params.iter().map(|(name, _)| &**name), headers)?;
        Ok(Self(params))
    }

    /// The values of a repeatable parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The value of a parameter that must not be repeated.
    pub(crate) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Problem::field(
                name,
                format!("{name} is in the query more than once. Send it once."),
            )),
            (value, None) => Ok(value),
        }
    }

    /// The filter that `topic=` and `type=`, and in queries of past events `source=` and `broadcast=`, ask for.
    pub(super) fn filter(&self, past: bool) -> Result<Asked, Problem> {
        let mut filter = Asked::default();
        for pattern in self.all("topic") {
            filter.add_topic(pattern).map_err(|e| bad_pattern("topic", pattern, e))?;
        }
        for pattern in self.all("type") {
            filter.add_type(pattern).map_err(|e| bad_pattern("type", pattern, e))?;
        }
        if past {
            for pattern in self.all("source") {
                filter.add_source(SourcePattern::parse(pattern).ok_or_else(|| {
                    let detail =
                        "A source pattern must have 1 to 2048 bytes; * matches any characters.";
                    Problem::field("source", detail).with("limit", source::MAX_SOURCE_PATTERN_BYTES)
                })?);
            }
            match self.one("broadcast")? {
                None | Some("true") => {}
                Some("false") => filter.exclude_broadcast(),
                Some(_) => {
                    return Err(Problem::field("broadcast", "broadcast must be true or false."));
                }
            }
        }
        if filter.max_patterns() > MAX_PATTERNS {
            let detail = "There are too many patterns. Use wildcards, or several subscriptions.";
            return Err(Problem::field("topic", detail).with("limit", MAX_PATTERNS));
        }
        Ok(filter)
    }

    /// Where a subscriber starts: the header `Last-Event-ID`, the same as a parameter, `from=`, or the default of the channel, in
    /// this order.
    pub(crate) fn start(
        &self,
        headers: &HeaderMap,
        default: &str,
        now: i64,
    ) -> Result<Start, Problem> {
        let mut sent = headers.get_all("last-event-id").iter();
        let (first, second) = (sent.next(), sent.next());
        if second.is_some() {
            return Err(Problem::field(
                "Last-Event-ID",
                "There is more than one Last-Event-ID header. Send it once.",
            ));
        }
        let header = first.map(|v| String::from_utf8_lossy(v.as_bytes()).trim().to_owned());
        if let Some(cursor) = header.filter(|c| !c.is_empty()) {
            return Ok(Start::Cursor(cursor));
        }
        match self.cursor()? {
            Some(cursor) => Ok(Start::Cursor(cursor.into())),
            None => start("from", self.one("from")?.unwrap_or(default), now),
        }
    }

    /// The cursor in the query, in any spelling. The last one wins: clients append theirs to a URL that may already have one.
    fn cursor(&self) -> Result<Option<&str>, Problem> {
        let mut last = None;
        for (name, value) in self.0.iter().filter(|(name, _)| known::is_cursor(name)) {
            self.one(name)?;
            last = Some(value.trim()).filter(|cursor| !cursor.is_empty()).or(last);
        }
        Ok(last)
    }

    /// An integer within a range.
    pub(crate) fn number(
        &self,
        name: &str,
        default: usize,
        low: usize,
        high: usize,
    ) -> Result<usize, Problem> {
        let Some(text) = self.one(name)? else {
            return Ok(default);
        };
        let number = digits(text).filter(|n| (low..=high).contains(n));
        number.ok_or_else(|| {
            Problem::field(name, format!("{name} must be an integer from {low} to {high}."))
                .with("limit", high)
        })
    }
}

/// The names and values of a query string (WHATWG URL, section 5.1). Bytes that are not UTF-8 are refused: with a replacement character
/// in their place, different names would become the same topic.
fn decode(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let text = |encoded: &str| {
        let spaced = encoded.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned)
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (text(name), text(value)) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                _ => Err(Problem::field(
                    name,
                    "The parameter is not valid UTF-8. Percent-encode the bytes of UTF-8, as encodeURIComponent does: é is %C3%A9.",
                )),
            }
        })
        .collect()
}

/// A number of digits alone; Rust would take a sign as well.
fn digits<N: FromStr>(text: &str) -> Option<N> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn bad_pattern(field: &str, pattern: &str, why: eventcast_wire::topic::BadTopic) -> Problem {
    let shown: String = pattern.chars().take(MAX_ECHOED_PATTERN_CHARS).collect();
    Problem::field(field, format!("The pattern {shown:?} {why}."))
}

/// Parses a start position: a keyword, a cursor, a time, or a duration before `now`, which is in nanoseconds since 1970.
pub(crate) fn start(field: &str, text: &str, now: i64) -> Result<Start, Problem> {
    match text {
        "latest" => return Ok(Start::Latest),
        "earliest" => return Ok(Start::Earliest),
        _ => {}
    }
    if let Some(n) = text.strip_prefix("last:") {
        let n = digits(n).filter(|n| (1..=MAX_LAST).contains(n));
        return n.map(Start::Last).ok_or_else(|| {
            Problem::field(field, "The N of last:N must be an integer from 1 to 1000.")
                .with("limit", MAX_LAST)
        });
    }
    if let Some(ago) = text.strip_prefix('-').and_then(seconds) {
        let nanos = i64::try_from(ago).ok().and_then(|s| s.checked_mul(1_000_000_000));
        return Ok(Start::Since(now.saturating_sub(nanos.unwrap_or(i64::MAX))));
    }
    if let Some(nanos) = time(text) {
        return Ok(Start::Since(nanos));
    }
    if text.parse::<Cursor>().is_ok() {
        return Ok(Start::Cursor(text.into()));
    }
    let detail = format!(
        "{field} must be latest, earliest, last:N, a cursor, an RFC 3339 time (write its + as %2B in a URL), or a duration before now \
         such as -10m (s, m, h, d)."
    );
    Err(Problem::field(field, detail))
}

/// Parses an RFC 3339 time to nanoseconds since 1970. An unescaped `+` arrives as a space, which is unambiguous before an offset.
pub(crate) fn time(text: &str) -> Option<i64> {
    let precise = to_nanoseconds(text);
    // The end of the year 9999 stands for "no end" in many programs, and is beyond what the library represents.
    let last_year = precise.strip_prefix("9999-").map(|rest| format!("9998-{rest}"));
    let text = last_year.as_deref().unwrap_or(&precise);
    let parse = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let time = parse(text).or_else(|| {
        let (time, offset) = text.rsplit_once(' ')?;
        parse(&format!("{time}+{offset}"))
    })?;
    // Before 1677 and after 2262 nothing was or will be published.
    let nanos = time.as_nanosecond();
    Some(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
}

/// A time without the digits of its fraction that are beyond nanoseconds. RFC 3339 allows any number of them.
fn to_nanoseconds(text: &str) -> Cow<'_, str> {
    const DIGITS: usize = 9;
    let Some((whole, fraction)) = text.split_once('.') else {
        return text.into();
    };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits <= DIGITS {
        return text.into();
    }
    format!("{whole}.{}{}", &fraction[..DIGITS], &fraction[digits..]).into()
}

/// Parses a duration such as `90s`, `10m`, `2h` or `7d` to seconds.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    digits::<u64>(&text[..text.len() - 1])?.checked_mul(unit)
}
