//! Which word was probably meant: one measure for every message.
//!
//! Does not know what the words name, nor what to say where none is near.

/// Finds the word that was probably meant, and the first of those where several are as near.
///
/// Letters that are wrong, missing, too many or swapped count one each (Damerau 1964), whatever
/// their case. A longer word may have more of them; a word of one letter is like no other.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let allowed = (1 + length / 4).min(length.saturating_sub(1));
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Asks whether the nearest word was meant, if one is near.
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let words = ["units", "dropout", "x"];
        assert_eq!(nearest("unitz", words), Some("units"));
        assert_eq!(nearest("UNITS", words), Some("units"));
        assert_eq!(nearest("dorpuot", words), Some("dropout"));
        assert_eq!(nearest("layers", words), None);
        assert_eq!(nearest("y", words), None);
        assert_eq!(did_you_mean("unit", words).as_deref(), Some("did you mean `units`?"));
    }
}
