//! Sizes and ages as people write them: `10GiB`, `30d`.

use std::time::Duration;

/// The words for bytes; a word stands before those that it begins with.
const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// The words for seconds.
const AGES: [(&str, u64); 5] =
    [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60), ("w", 7 * 24 * 60 * 60)];

/// Reads a size such as `10GiB`, `1.5GB` or `4096`, in bytes.
///
/// # Errors
///
/// What is wrong with it and how it is written, for clap to show.
pub fn size(text: &str) -> Result<u64, String> {
    let way = "write a number and one of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB, as in `10GiB`";
    let bytes = quantity(text, &SIZES).ok_or(way)?;
    Ok(bytes as u64)
}

/// Reads an age such as `30d` or `12h`.
///
/// # Errors
///
/// What is wrong with it and how it is written, for clap to show.
pub fn age(text: &str) -> Result<Duration, String> {
    let way = "write a number and one of s, m, h, d, w, as in `30d` or `12h`";
    let seconds = quantity(text, &AGES).ok_or(way)?;
    Duration::try_from_secs_f64(seconds).map_err(|_| way.to_owned())
}

/// Writes a size for people.
pub fn shown(bytes: u64) -> String {
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

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let factor = units.iter().find(|(word, _)| *word == unit)?.1;
    let value = number.parse::<f64>().ok()? * factor as f64;
    (value < u64::MAX as f64).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_read_as_written() {
        assert_eq!(size("10GiB"), Ok(10 << 30));
        assert_eq!(size("1.5 kb"), Ok(1500));
        assert_eq!(size("0"), Ok(0));
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 24 * 3600)));
        assert_eq!(age("12h"), Ok(Duration::from_secs(12 * 3600)));
        for wrong in ["", "GiB", "10GX", "-1", "1.2.3", "1e400GB", "99999999999TiB", "10 d d"] {
            assert!(size(wrong).is_err(), "`{wrong}`");
        }
        for wrong in ["30", "d", "-1d", "30 years", "1e3d", ""] {
            assert!(age(wrong).is_err(), "`{wrong}`");
        }
    }

    #[test]
    fn sizes_are_shown_in_a_unit_that_fits() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), ((1 << 20) - 1, "1.0 MiB")]
        {
            assert_eq!(shown(bytes), text);
        }
        assert_eq!(shown(10 << 30), "10.0 GiB");
    }
}
