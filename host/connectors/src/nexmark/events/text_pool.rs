//! The strings of Nexmark events: slices of strings that are generated once.

use millstream_base::random::Random;
use std::fmt::Write;
use std::sync::LazyLock;

/// Number of characters of the generated strings.
const TEXT_CHARS: usize = 1 << 16;
/// Number of channels that are not hot.
const CHANNELS: u64 = 10_000;
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
/// Minimum length of a string.
const WORD_BYTES_MIN: u64 = 3;

/// The generated strings.
pub struct TextPool {
    /// Letters only.
    chars_text: String,
    words_text: String,
    /// Names and URLs of channels; the hot ones come first.
    channels: Vec<(String, String)>,
}

/// The generated strings.
pub static TEXT_POOL: LazyLock<TextPool> = LazyLock::new(|| {
    let mut random = Random(0x6e65_786d_6172_6b00);
    let chars_text: String = (0..TEXT_CHARS).map(|_| random_char(&mut random)).collect();
    let words_text =
        (0..TEXT_CHARS).map(|_| if random.below(13) == 0 { ' ' } else { random_char(&mut random) }).collect();
    let all = (0..CHANNELS + HOT_CHANNELS.len() as u64).map(|number| {
        let [one, two, three] = [(); 3].map(|()| piece(&chars_text, &mut random, 5));
        let mut url = format!("https://www.nexmark.com/{one}/{two}/{three}/item.htm?query=1");
        match number.checked_sub(HOT_CHANNELS.len() as u64) {
            None => (HOT_CHANNELS.get(number as usize).copied().unwrap_or_default().to_owned(), url),
            Some(number) => {
                if random.below(10) > 0 {
                    let _ = write!(url, "&channel_id={}", (number as u32).reverse_bits() & 0x7fff_ffff);
                }
                (format!("channel-{number}"), url)
            }
        }
    });
    let channels = all.collect();
    TextPool { chars_text, words_text, channels }
});

fn random_char(random: &mut Random) -> char {
    char::from(b'a' + random.below(26) as u8)
}

/// Returns `bytes` characters from a random start.
fn cut<'a>(source_text: &'a str, random: &mut Random, bytes: usize) -> &'a str {
    let bytes = bytes.min(source_text.len());
    let start = random.index(source_text.len() - bytes + 1);
    source_text.get(start..start + bytes).unwrap_or_default()
}

/// Returns at least [`WORD_BYTES_MIN`] characters, and fewer than `max`.
fn piece<'a>(source_text: &'a str, random: &mut Random, max: u64) -> &'a str {
    let bytes = WORD_BYTES_MIN + random.below(max.saturating_sub(WORD_BYTES_MIN).max(1));
    cut(source_text, random, bytes as usize)
}

/// Returns letters with spaces, shorter than `max`.
pub fn random_words(random: &mut Random, max: u64) -> &'static str {
    piece(&TEXT_POOL.words_text, random, max).trim()
}

/// Returns letters, `bytes` on average, and up to a fifth more or less.
pub fn extra(random: &mut Random, bytes: u64) -> &'static str {
    let spread = bytes / 5;
    let bytes = bytes - spread + if spread > 0 { random.below(spread * 2) } else { 0 };
    cut(&TEXT_POOL.chars_text, random, usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Returns a channel and its URL.
pub fn channel(random: &mut Random) -> (&'static str, &'static str) {
    let hot = HOT_CHANNELS.len();
    let index = match random.below(2) {
        0 => hot + random.below(CHANNELS) as usize,
        _ => random.index(hot),
    };
    TEXT_POOL.channels.get(index).map_or(("", ""), |(name, url)| (name, url))
}

fn pick<'a>(all: &[&'a str], random: &mut Random) -> &'a str {
    all.get(random.index(all.len().max(1))).copied().unwrap_or_default()
}

/// Returns a first and last name.
pub fn name(random: &mut Random) -> String {
    format!("{} {}", pick(&FIRST_NAMES, random), pick(&LAST_NAMES, random))
}

/// Returns an email address.
pub fn mail(random: &mut Random) -> String {
    format!("{}@{}.com", piece(&TEXT_POOL.chars_text, random, 7), piece(&TEXT_POOL.chars_text, random, 5))
}

/// Returns a credit card number.
pub fn card(random: &mut Random) -> String {
    let mut four = || random.below(10_000);
    format!("{:04} {:04} {:04} {:04}", four(), four(), four(), four())
}

/// Returns a city.
pub fn city(random: &mut Random) -> &'static str {
    pick(&CITIES, random)
}

/// Returns a state.
pub fn state(random: &mut Random) -> &'static str {
    pick(&STATES, random)
}
