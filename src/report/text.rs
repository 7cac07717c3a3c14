//! Words and numbers as a person reads them: reasons, durations, counts, values.

use std::path::Path;

use serde_json::Value;

use crate::fingerprint::{DirtyReason, FileChange};

/// How exactly a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digits {
    /// So that reading it gives the same number.
    All,
    /// About five, for a quick look.
    Few,
}

/// Says why an action is not fresh, in full: `param network.units changed: [32] -> [64] (variable
/// units)`.
pub fn reason(reason: &DirtyReason) -> String {
    match reason {
        DirtyReason::NeverRan => "never ran before".to_owned(),
        DirtyReason::Failed => "has only failed so far".to_owned(),
        DirtyReason::Forced => "forced by --force".to_owned(),
        DirtyReason::RunsEachTime => "it is declared to run each time".to_owned(),
        DirtyReason::Verified => "run again by --verify".to_owned(),
        DirtyReason::TrialsFailed { trials } => {
            format!("{} failed and may not fail again", counted(*trials, "trial"))
        }
        DirtyReason::EntryMissing => "its result is no longer in the store".to_owned(),
        DirtyReason::ParamChanged { path, old, new, variables } => {
            let (old, new) = (value(old, Digits::All), value(new, Digits::All));
            format!("param {path} changed: {old} -> {new}{}", from_variables(variables))
        }
        DirtyReason::InputChanged { input, old, new, files, .. } if files.is_empty() => {
            format!("input {input} changed: {} -> {}", digest(old), digest(new))
        }
        DirtyReason::InputChanged { input, files, more, .. } => {
            format!("input {input} changed: {}", file_changes(files, *more))
        }
        DirtyReason::InputAdded { input } => format!("input {input} is new"),
        DirtyReason::InputRemoved { input } => format!("input {input} is gone"),
        DirtyReason::EnvChanged { name, old, new } => {
            let text = |value: &Option<String>| {
                value.as_ref().map_or("unset".to_owned(), |value| format!("{value:?}"))
            };
            format!("environment variable {name} changed: {} -> {}", text(old), text(new))
        }
        DirtyReason::KindChanged { old, new } => format!("kind changed: {old} -> {new}"),
        DirtyReason::VersionChanged { old, new } => {
            format!("this runner computes the kind in another way: version {old} -> {new}")
        }
        DirtyReason::OutputMissing { output } => {
            format!("output {output} is no longer in the store")
        }
        DirtyReason::OutputDamaged { output, path } => {
            format!("output {output} is damaged in the store: {path}")
        }
        DirtyReason::OutputDropped { output } => {
            format!("output {output} was dropped from the store and is needed now")
        }
        DirtyReason::UpstreamDirty { stage } => format!("stage {stage} may give other outputs"),
    }
}

/// Says the first reason, and how many more there are.
pub fn reasons(reasons: &[DirtyReason]) -> String {
    match reasons {
        [] => String::new(),
        [only] => reason(only),
        [first, others @ ..] => format!("{}, and {} more", reason(first), others.len()),
    }
}

fn from_variables(variables: &[String]) -> String {
    match variables {
        [] => String::new(),
        [only] => format!(" (variable {only})"),
        several => format!(" (variables {})", several.join(", ")),
    }
}

/// Says what became of the first files, and how many more there are.
fn file_changes(changes: &[FileChange], more: u64) -> String {
    const SHOWN: usize = 3;

    let change = |change: &FileChange| match change {
        FileChange::Added(file) => format!("{file} is new"),
        FileChange::Changed(file) => format!("{file} has other bytes"),
        FileChange::Removed(file) => format!("{file} is gone"),
    };
    let text = changes.iter().take(SHOWN).map(change).collect::<Vec<_>>().join(", ");
    match changes.len().saturating_sub(SHOWN) as u64 + more {
        0 => text,
        others => format!("{text}, and {}", counted(others, "other file")),
    }
}

fn digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Writes a param's value: JSON with spaces; null is `unset`.
pub fn value(json: &Value, digits: Digits) -> String {
    match (json, json.as_f64()) {
        (Value::Null, _) => "unset".to_owned(),
        (Value::Number(_), Some(float)) if digits == Digits::Few && !is_whole(json) => {
            number(float)
        }
        (Value::Array(items), _) => {
            let items: Vec<_> = items.iter().map(|item| value(item, digits)).collect();
            format!("[{}]", items.join(", "))
        }
        (Value::Object(fields), _) => {
            let field =
                |(name, item): (&String, &Value)| format!("{name}: {}", value(item, digits));
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        (Value::String(text), _) if digits == Digits::Few => text.clone(),
        (other, _) => other.to_string(),
    }
}

fn is_whole(number: &Value) -> bool {
    number.is_i64() || number.is_u64()
}

/// Writes a duration: `0.004 s`, `0.42 s`, `31.2 s`, `1 m 02 s`, `2 h 05 m`.
pub fn duration(seconds: f64) -> String {
    if seconds < 0.0095 {
        return format!("{seconds:.3} s");
    }
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, minutes, seconds) => format!("{minutes} m {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} m"),
    }
}

/// Writes a count with thousands separators: `20,000`.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a count with its noun: `1 trial`, `20,000 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Writes a measured number with five digits: `0.012345`, `1234.5`, `1.235e-7`.
pub fn number(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || !number.is_finite() {
        return format!("{number}");
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{number:.3e}");
    }
    // The exponent is between -4 and 6.
    let decimals = (4 - size.log10().floor() as i32).max(0) as usize;
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Writes a path, relative to `base` where it lies below.
pub fn path(path: &Path, base: &Path) -> String {
    match path.strip_prefix(base) {
        Ok(below) if below.as_os_str().is_empty() => ".".to_owned(),
        Ok(below) => below.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// Cuts a text to its first line and to `width` characters.
pub fn clip(text: &str, width: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(width) {
        Some(_) => {
            let kept: String = line.chars().take(width.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_have_the_unit_that_fits() {
        let texts = [0.0042, 0.0096, 0.4213, 9.994, 9.996, 59.94, 59.96, 62.1, 3599.6, 7530.0]
            .map(duration);
        assert_eq!(
            texts,
            [
                "0.004 s", "0.01 s", "0.42 s", "9.99 s", "10.0 s", "59.9 s", "1 m 00 s",
                "1 m 02 s", "1 h 00 m", "2 h 05 m"
            ]
        );
    }

    #[test]
    fn counts_have_separators_and_nouns_their_plural() {
        assert_eq!(
            [0, 999, 1000, 20_000, 1_234_567].map(count).join(" "),
            "0 999 1,000 20,000 1,234,567"
        );
        assert_eq!(counted(1, "trial") + &counted(1200, "row"), "1 trial1,200 rows");
    }

    #[test]
    fn numbers_have_about_five_digits() {
        let numbers = [0.0, 0.5, 0.0123456, -12.34567, 1234.5678, 123_456.7, 3.0, 1.2347e-7, 1e9];
        assert_eq!(
            numbers.map(number).join(" "),
            "0 0.5 0.012346 -12.346 1234.6 123457 3 1.235e-7 1.000e9"
        );
        assert_eq!(number(f64::NAN), "NaN");
    }

    #[test]
    fn values_are_json_with_spaces() {
        let json = json!({ "units": [64, 8], "rate": 0.000123456789, "name": "a", "none": null });
        assert_eq!(
            value(&json, Digits::All),
            r#"{ name: "a", none: unset, rate: 0.000123456789, units: [64, 8] }"#
        );
        assert_eq!(
            value(&json, Digits::Few),
            "{ name: a, none: unset, rate: 0.00012346, units: [64, 8] }"
        );
    }

    #[test]
    fn each_reason_has_its_words() {
        let text = |text: &str| text.to_owned();
        let changed = DirtyReason::ParamChanged {
            path: text("network.units"),
            old: json!([32]),
            new: json!([64]),
            variables: vec![text("units")],
        };
        let all = [
            DirtyReason::NeverRan,
            DirtyReason::Forced,
            changed.clone(),
            DirtyReason::InputChanged {
                input: text("data"),
                old: "0123456789abcdef".repeat(4),
                new: "f".repeat(64),
                files: Vec::new(),
                more: 0,
            },
            DirtyReason::InputChanged {
                input: text("notes"),
                old: "0".repeat(64),
                new: "f".repeat(64),
                files: vec![
                    FileChange::Added(text("a")),
                    FileChange::Changed(text("b/c")),
                    FileChange::Removed(text("d")),
                ],
                more: 1,
            },
            DirtyReason::InputAdded { input: text("truth") },
            DirtyReason::InputRemoved { input: text("truth") },
            DirtyReason::EnvChanged { name: text("SEED"), old: None, new: Some(text("7")) },
            DirtyReason::KindChanged { old: text("train"), new: text("command") },
            DirtyReason::VersionChanged { old: 1, new: 2 },
            DirtyReason::EntryMissing,
            DirtyReason::OutputMissing { output: text("model") },
            DirtyReason::OutputDamaged { output: text("model"), path: text("a/m.bin") },
            DirtyReason::OutputDropped { output: text("model") },
            DirtyReason::UpstreamDirty { stage: text("train") },
        ];
        assert_eq!(
            all.iter().map(reason).collect::<Vec<_>>(),
            [
                "never ran before",
                "forced by --force",
                "param network.units changed: [32] -> [64] (variable units)",
                "input data changed: 0123456789ab -> ffffffffffff",
                "input notes changed: a is new, b/c has other bytes, d is gone, and 1 other file",
                "input truth is new",
                "input truth is gone",
                "environment variable SEED changed: unset -> \"7\"",
                "kind changed: train -> command",
                "this runner computes the kind in another way: version 1 -> 2",
                "its result is no longer in the store",
                "output model is no longer in the store",
                "output model is damaged in the store: a/m.bin",
                "output model was dropped from the store and is needed now",
                "stage train may give other outputs",
            ]
        );
        assert_eq!(reasons(&all[..3]), "never ran before, and 2 more");
    }

    #[test]
    fn a_clipped_text_is_one_short_line() {
        assert_eq!(clip("abc def\nnext", 7), "abc def");
        assert_eq!(clip("abc defg", 5), "abc…");
    }
}
