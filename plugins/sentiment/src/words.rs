//! The lexicon of the plugin.

/// Returns the sentiment of a lower-case word, from -1 to 1.
pub fn weight(word: &str) -> Option<f64> {
    Some(match word {
        "adore" | "amazing" | "awesome" | "beautiful" | "best" | "brilliant" | "delicious" | "excellent"
        | "fantastic" | "great" | "incredible" | "love" | "loved" | "lovely" | "loves" | "outstanding" | "perfect"
        | "superb" | "wonderful" | "wow" => 1.0,
        "better" | "calm" | "clean" | "comfortable" | "easy" | "enjoy" | "enjoyed" | "fast" | "fine" | "fresh"
        | "friendly" | "fun" | "glad" | "good" | "happy" | "helpful" | "interesting" | "like" | "liked" | "nice"
        | "ok" | "okay" | "pleasant" | "pretty" | "quick" | "recommend" | "safe" | "smart" | "smooth" | "solid"
        | "thank" | "thanks" | "useful" | "warm" | "welcome" | "win" => 0.5,
        "annoyed" | "annoying" | "bad" | "boring" | "broken" | "cold" | "confusing" | "crash" | "crashed"
        | "delayed" | "difficult" | "dirty" | "dislike" | "expensive" | "fail" | "failed" | "late" | "lost"
        | "noisy" | "poor" | "problem" | "rude" | "sad" | "slow" | "sorry" | "stuck" | "tired" | "trouble" | "ugly"
        | "unhappy" | "upset" | "useless" | "weak" | "wrong" => -0.5,
        "awful" | "disaster" | "disgusting" | "hate" | "hated" | "hates" | "horrible" | "nightmare" | "scam"
        | "terrible" | "worst" => -1.0,
        _ => return None,
    })
}

/// Whether a word turns around what follows.
pub fn negates(word: &str) -> bool {
    matches!(word, "cannot" | "hardly" | "neither" | "never" | "no" | "nobody" | "none" | "nor" | "not" | "without")
        || word.ends_with("n't")
}
