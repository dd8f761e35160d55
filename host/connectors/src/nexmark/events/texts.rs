//! The texts of Nexmark's events: cut out of what is made once.

use millstream_base::random::Random;
use std::fmt::Write;
use std::sync::LazyLock;

/// Letters that texts are pieces of.
const LETTERS: usize = 1 << 16;
/// Channels that are not hot.
const CHANNELS: u64 = 10_000;
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
/// What a text has at least.
const WORD_BYTES_MIN: u64 = 3;

/// What texts are cut out of.
pub struct Texts {
    /// Letters alone, and letters with a space now and then.
    letters: String,
    words: String,
    /// Names and addresses of channels; the hot ones come first.
    channels: Vec<(String, String)>,
}

/// All of it.
pub static TEXTS: LazyLock<Texts> = LazyLock::new(|| {
    let mut random = Random(0x6e65_786d_6172_6b00);
    let letters: String = (0..LETTERS).map(|_| letter(&mut random)).collect();
    let words = (0..LETTERS).map(|_| if random.below(13) == 0 { ' ' } else { letter(&mut random) }).collect();
    let all = (0..CHANNELS + HOT_CHANNELS.len() as u64).map(|number| {
        let [one, two, three] = [(); 3].map(|()| piece(&letters, &mut random, 5));
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
    Texts { letters, words, channels }
});

fn letter(random: &mut Random) -> char {
    char::from(b'a' + random.below(26) as u8)
}

/// So many letters from some place on.
fn cut<'a>(of: &'a str, random: &mut Random, bytes: usize) -> &'a str {
    let bytes = bytes.min(of.len());
    let start = random.index(of.len() - bytes + 1);
    of.get(start..start + bytes).unwrap_or_default()
}

/// At least [`WORD_BYTES_MIN`] letters, and fewer than `most`.
fn piece<'a>(of: &'a str, random: &mut Random, most: u64) -> &'a str {
    let bytes = WORD_BYTES_MIN + random.below(most.saturating_sub(WORD_BYTES_MIN).max(1));
    cut(of, random, bytes as usize)
}

/// Letters with spaces, shorter than `most`.
pub fn words(random: &mut Random, most: u64) -> &'static str {
    piece(&TEXTS.words, random, most).trim()
}

/// Letters, so many on average and up to a fifth more or less.
pub fn extra(random: &mut Random, bytes: u64) -> &'static str {
    let apart = bytes / 5;
    let bytes = bytes - apart + if apart > 0 { random.below(apart * 2) } else { 0 };
    cut(&TEXTS.letters, random, usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// A channel and the address that a bid came through it from.
pub fn channel(random: &mut Random) -> (&'static str, &'static str) {
    let hot = HOT_CHANNELS.len();
    let place = match random.below(2) {
        0 => hot + random.below(CHANNELS) as usize,
        _ => random.index(hot),
    };
    TEXTS.channels.get(place).map_or(("", ""), |(name, url)| (name, url))
}

fn of<'a>(all: &[&'a str], random: &mut Random) -> &'a str {
    all.get(random.index(all.len().max(1))).copied().unwrap_or_default()
}

/// First and last name.
pub fn name(random: &mut Random) -> String {
    format!("{} {}", of(&FIRST_NAMES, random), of(&LAST_NAMES, random))
}

/// An address of mail.
pub fn mail(random: &mut Random) -> String {
    format!("{}@{}.com", piece(&TEXTS.letters, random, 7), piece(&TEXTS.letters, random, 5))
}

/// The number of a credit card.
pub fn card(random: &mut Random) -> String {
    let mut four = || random.below(10_000);
    format!("{:04} {:04} {:04} {:04}", four(), four(), four(), four())
}

/// A city.
pub fn city(random: &mut Random) -> &'static str {
    of(&CITIES, random)
}

/// A state.
pub fn state(random: &mut Random) -> &'static str {
    of(&STATES, random)
}
