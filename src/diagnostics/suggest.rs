//! "Did you mean": the nearest of the words that would have been right.

/// The candidate nearest to `word`, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let own = candidate.to_lowercase();
            // `SIGTERM` for `TERM`: the word with something before it.
            let is_tail = own.len() > 2 && lower.len() > own.len() && lower.ends_with(&own);
            let distance = if is_tail {
                1
            } else {
                strsim::osa_distance(&lower, &own)
            };
            (distance, candidate)
        })
        .filter(|(distance, candidate)| {
            let length = word.chars().count().max(candidate.chars().count());
            *distance <= (length / 3).max(1) && *distance < length
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// ``did you mean `x`?``, for [`super::Diagnostic::help`].
pub fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(word, candidates).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let words = ["replicas", "restart", "after"];
        assert_eq!(nearest("replica", words), Some("replicas"));
        assert_eq!(nearest("reatsrt", words), Some("restart"));
        assert_eq!(nearest("After", words), Some("after"));
        assert_eq!(nearest("SIGTERM", ["TERM", "INT"]), Some("TERM"));
        assert_eq!(nearest("banana", words), None);
        assert_eq!(nearest("x", ["y"]), None);
    }
}
