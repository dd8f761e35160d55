//! The words that the plugin knows.

/// How friendly a word is, which must be in lower case: from -1 to 1.
pub fn weight(word: &str) -> Option<f64> {
    let lists = [(1.0, LOVED), (0.5, LIKED), (-0.5, DISLIKED), (-1.0, HATED)];
    lists.iter().find(|(_, words)| words.binary_search(&word).is_ok()).map(|(weight, _)| *weight)
}

/// Whether a word turns around what follows.
pub fn negates(word: &str) -> bool {
    NEGATIONS.binary_search(&word).is_ok() || word.ends_with("n't")
}

// In the order of their bytes, which the search needs.

const NEGATIONS: &[&str] = &["cannot", "hardly", "neither", "never", "no", "nobody", "none", "nor", "not", "without"];

const LOVED: &[&str] = &[
    "adore", "amazing", "awesome", "beautiful", "best", "brilliant", "delicious", "excellent", "fantastic", "great",
    "incredible", "love", "loved", "lovely", "loves", "outstanding", "perfect", "superb", "wonderful", "wow",
];

const LIKED: &[&str] = &[
    "better", "calm", "clean", "comfortable", "easy", "enjoy", "enjoyed", "fast", "fine", "fresh", "friendly", "fun",
    "glad", "good", "happy", "helpful", "interesting", "like", "liked", "nice", "ok", "okay", "pleasant", "pretty",
    "quick", "recommend", "safe", "smart", "smooth", "solid", "thank", "thanks", "useful", "warm", "welcome", "win",
];

const DISLIKED: &[&str] = &[
    "annoyed", "annoying", "bad", "boring", "broken", "cold", "confusing", "crash", "crashed", "delayed", "difficult",
    "dirty", "dislike", "expensive", "fail", "failed", "late", "lost", "noisy", "poor", "problem", "rude", "sad",
    "slow", "sorry", "stuck", "tired", "trouble", "ugly", "unhappy", "upset", "useless", "weak", "wrong",
];

const HATED: &[&str] = &[
    "awful", "disaster", "disgusting", "hate", "hated", "hates", "horrible", "nightmare", "scam", "terrible", "worst",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_no_word_is_in_two() {
        let lists = [NEGATIONS, LOVED, LIKED, DISLIKED, HATED];
        lists.iter().for_each(|words| assert!(words.is_sorted()));
        let mut all = lists.concat();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
