//! Sizes and durations as people write them: `10GiB`, `1h30m`. One way of writing holds in pipeline files
//! and on the command line; what may be said with a quantity is its asker's to know.

use std::time::Duration;

/// Reads a duration: whole numbers with `w`, `d`, `h`, `m`, `s` or `ms`, the larger first.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 6] = [
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let (mut rest, mut units, mut total) = (text.trim(), &UNITS[..], 0_u64);
    while !rest.is_empty() || units.len() == UNITS.len() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let at = units.iter().position(|(unit, _)| unit.eq_ignore_ascii_case(&tail[..end]))?;
        total = total.checked_add(number.checked_mul(units[at].1)?)?;
        (rest, units) = (&tail[end..], &units[at + 1..]);
    }
    Some(Duration::from_millis(total))
}

/// Writes a duration as it is read: `1h30m`.
pub fn duration_text(duration: Duration) -> String {
    let mut left = duration.as_millis();
    let mut text = String::new();
    for (unit, length) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= length {
            text += &format!("{}{unit}", left / length);
            left %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads a size in bytes: a number with `B`, `kB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB` or `TiB`, or 0.
pub fn parse_size(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 9] = [
        ("B", 1.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ];
    let text = text.trim();
    if text == "0" {
        return Some(0);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    let (_, factor) = UNITS.iter().find(|(known, _)| known.eq_ignore_ascii_case(unit))?;
    let bytes = number.parse::<f64>().ok()? * factor;
    // Above that a float would count no single bytes, and no machine has it.
    (bytes < 9e15).then_some(bytes as u64)
}

/// Writes a size as it is read: `4GiB`, `1.5GiB`.
pub fn size_text(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let number = format!("{:.2}", bytes as f64 / (1_u64 << shift) as f64);
            format!("{}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        None => format!("{bytes}B"),
    }
}

/// Writes a size with one digit after the point, for tables and sentences: `10.0 GiB`.
pub fn rounded_size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 is 1.0 of the next unit.
    while size >= 1023.95 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_the_larger_first() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1d2ms"), Some(86_400.002));
        assert_eq!(seconds("2w"), seconds("14D"));
        for wrong in ["", "90", "s", "1.5h", "30m1h", "5m5m", "5 m", "-5s", "99999999999999999d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
        for text in ["1h30m", "30m", "250ms", "1m30s", "48h"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("4GiB"), Some(4 << 30));
        assert_eq!(["1.5 kB", "1.5kb", "0"].map(parse_size), [Some(1500), Some(1500), Some(0)]);
        for wrong in ["", "4", "GiB", "4GX", "-1MB", "1.2.3MB", "1e400GB", "99999999TiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!([4 << 30, 1536, 12].map(size_text), ["4GiB", "1.5KiB", "12B"]);
    }

    #[test]
    fn sizes_are_shown_in_a_unit_that_fits() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), ((1 << 20) - 1, "1.0 MiB")]
        {
            assert_eq!(rounded_size(bytes), text);
        }
        assert_eq!(rounded_size(10 << 30), "10.0 GiB");
    }
}
