//! Numbers for people. Pure.

/// Bytes: `1.2 MiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B" && value < 100.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// A duration by its largest unit: `3d`, `5h`, `12m`, `7s`.
pub(crate) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    let (unit, length) = match seconds {
        s if s >= 172_800.0 => ("d", 86_400.0),
        s if s >= 7200.0 => ("h", 3600.0),
        s if s >= 120.0 => ("m", 60.0),
        _ => ("s", 1.0),
    };
    format!("{:.0}{unit}", (seconds / length).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_fitting_units() {
        for (value, wanted) in [
            (0.0, "0 B"),
            (1023.0, "1023 B"),
            (1536.0, "1.5 KiB"),
            (104_857_600.0, "100 MiB"),
            (1.1e15, "1000.4 TiB"),
        ] {
            assert_eq!(bytes(value), wanted);
        }
        for (value, wanted) in
            [(-1.0, "0s"), (119.0, "119s"), (120.0, "2m"), (7200.0, "2h"), (2e6, "23d")]
        {
            assert_eq!(age(value), wanted);
        }
    }
}
