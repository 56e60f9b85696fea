//! Parses Kubernetes quantities. Pure.
//!
//! The crate `kube_quantity` does the same, but version 0.9 converts `1.5Gi` to 1 GiB and cannot parse the suffixes `E` and `Ei`.

/// The value of a quantity such as `1.5Gi`, `500m` or `1e9`.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let unit = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        // A decimal exponent.
        _ if suffix.starts_with(['e', 'E']) => {
            return text.parse().ok().filter(|n: &f64| n.is_finite());
        }
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * unit)
}

/// The value of a quantity as whole bytes.
#[must_use]
pub fn parse_bytes(text: &str) -> Option<u64> {
    let value = parse(text)?;
    // f64 is exact below 2^53, which is more than any memory.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
    (0.0..9e15).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_parsed_as_bytes() {
        for (text, expected) in [
            ("1", Some(1)),
            ("128Mi", Some(128 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("2G", Some(2_000_000_000)),
            ("100000k", Some(100_000_000)),
            ("134217728000m", Some(128 << 20)),
            ("1e3", Some(1000)),
            ("1E3", Some(1000)),
            ("1Ei", None), // more than any memory
            ("-1", None),
            ("much", None),
            ("1 Gi", None),
            ("Gi", None),
            ("inf", None),
            ("", None),
        ] {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn fractions_and_exa_are_quantities() {
        assert_eq!(parse("500m"), Some(0.5));
        assert_eq!(parse("2E"), Some(2e18));
        assert_eq!(parse("1Ei"), Some(2f64.powi(60)));
    }
}
