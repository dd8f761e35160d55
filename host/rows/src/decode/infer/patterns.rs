//! Recognizes strings: times in the formats that files use, dates, and amounts of money.

use crate::batch::column::{ColumnSpec, TimeForm};
use crate::batch::parse;
use crate::batch::times::TimeParser;
use crate::batch::types::ColumnType;

/// Patterns of times other than RFC 3339 that cannot be confused with each other.
const CERTAIN: [&str; 14] = [
    "%d/%b/%Y:%H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y",
    "%b %d, %Y",
    "%d-%b-%Y",
];
/// Possible orders of day, month and year without a month's name, with four-digit and two-digit years. Patterns with the same number of digits can
/// only be distinguished by days after the 12th.
const ORDERS: [(YearDigits, &[&str]); 2] =
    [(YearDigits::Four, &["%d/%m/%Y", "%m/%d/%Y"]), (YearDigits::Two, &["%d/%m/%y", "%m/%d/%y", "%y/%m/%d"])];
/// Separators of day, month and year in these.
const SEPARATORS: [&str; 2] = ["/", "-"];
/// Times of day after them.
const TIMES_OF_DAY: [&str; 5] = ["", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p"];
/// Currency signs before or after an amount.
const CURRENCIES: [&str; 10] = ["$", "€", "£", "¥", "₹", "USD", "EUR", "GBP", "CHF", "JPY"];

/// Number of digits of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum YearDigits {
    /// `2026`
    Four,
    /// `26`
    Two,
}

/// A pattern of times.
pub struct TimePattern {
    /// The pattern as a column's form.
    pub form: TimeForm,
    /// Other orders with these years may match as well.
    pub order: Option<YearDigits>,
    parser: TimeParser,
    /// Digits of each number of a string, if the pattern defines them: years must not be shorter.
    digits: Vec<Option<usize>>,
}

/// Returns all patterns, the most likely first; unambiguous ones come before the others.
pub fn all() -> Vec<TimePattern> {
    let certain = CERTAIN.iter().map(|text| TimePattern::new(TimeForm::Pattern((*text).to_owned()), None));
    let orders = ORDERS.iter().flat_map(|(years, orders)| orders.iter().map(|order| (*years, *order)));
    let uncertain = orders.flat_map(|(years, order)| {
        SEPARATORS.iter().flat_map(move |separator| {
            let day = order.replace('/', separator);
            TIMES_OF_DAY
                .iter()
                .map(move |clock| TimePattern::new(TimeForm::Pattern(format!("{day}{clock}")), Some(years)))
        })
    });
    std::iter::once(TimePattern::new(TimeForm::Text, None)).chain(certain).chain(uncertain).collect()
}

impl TimePattern {
    fn new(form: TimeForm, order: Option<YearDigits>) -> TimePattern {
        let parser = TimeParser::new(&ColumnSpec::new("", ColumnType::Timestamp).written(form.clone()));
        let digits = match &form {
            TimeForm::Pattern(pattern) => digits_of(pattern),
            _ => Vec::new(),
        };
        TimePattern { form, order, parser, digits }
    }

    /// Returns whether a string matches the pattern.
    pub fn fits(&self, text: &str) -> bool {
        let looks = match self.form {
            // RFC 3339 begins with a year; other strings that the parser accepts are hardly meant as times.
            TimeForm::Text => text.as_bytes().get(4) == Some(&b'-'),
            _ => {
                let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
                // The pattern parser reads `04` as the year 4.
                numbers.zip(&self.digits).all(|(number, digits)| digits.is_none_or(|digits| number.len() == digits))
            }
        };
        looks && self.parser.read(text).is_ok()
    }

    /// Returns the type as written in a job file.
    pub fn keyword(&self) -> String {
        ColumnSpec::new("", ColumnType::Timestamp).written(self.form.clone()).type_word()
    }

    /// Returns whether times of this pattern have a time of day and no offset.
    pub fn is_local(&self) -> bool {
        matches!(&self.form, TimeForm::Pattern(pattern) if !pattern.contains("%z"))
    }
}

/// Returns the number of digits of the numbers in a string, in order, if the pattern defines them.
fn digits_of(pattern: &str) -> Vec<Option<usize>> {
    let directives = pattern.split('%').skip(1).filter_map(|directive| directive.chars().next());
    let digits = |directive: char| match directive {
        'Y' => Some(Some(4)),
        'y' => Some(Some(2)),
        'd' | 'm' | 'H' | 'I' | 'M' | 'S' => Some(None),
        _ => None,
    };
    directives.filter_map(digits).collect()
}

/// Returns whether a string is a date as columns of type `date` read it, with a four-digit year.
pub fn is_day(text: &str) -> bool {
    text.len() == 10 && text.as_bytes().get(4) == Some(&b'-') && parse::date(text).is_ok()
}

/// Returns whether a string is a number with a currency, with thousands separators or with a decimal comma: `$1,234.50`, `12,50 €`.
pub fn looks_like_amount(text: &str) -> bool {
    let mut number = text;
    for currency in CURRENCIES {
        number = number.strip_prefix(currency).or_else(|| number.strip_suffix(currency)).unwrap_or(number).trim();
    }
    let number = number.strip_prefix(['-', '+']).unwrap_or(number);
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | '.' | '\'' | ' '));
    is_number && (number.len() < text.trim_start_matches(['-', '+']).len() || number.contains([',', '\'', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitting(strings: &[&str]) -> Vec<String> {
        let fits = |pattern: &TimePattern| strings.iter().all(|text| pattern.fits(text));
        all().iter().filter(|pattern| fits(pattern)).map(TimePattern::keyword).collect()
    }

    #[test]
    fn years_have_as_many_digits_as_the_pattern_says() {
        assert_eq!(fitting(&["2026/07/04"]), ["timestamp(%Y/%m/%d)"]);
        assert_eq!(
            fitting(&["04/07/20"]),
            ["timestamp(%d/%m/%y)", "timestamp(%m/%d/%y)", "timestamp(%y/%m/%d)"],
            "not the year 4"
        );
        assert_eq!(fitting(&["04/07/2026"]), ["timestamp(%d/%m/%Y)", "timestamp(%m/%d/%Y)"]);
        assert_eq!(fitting(&["04/07/2026", "12/31/2026"]), ["timestamp(%m/%d/%Y)"]);
        assert_eq!(fitting(&["31-12-2026 10:00"]), ["timestamp(%d-%m-%Y %H:%M)"]);
        assert_eq!(fitting(&["12/31/99 01:30 PM"]), ["timestamp(%m/%d/%y %I:%M %p)"]);
        assert_eq!(fitting(&["4.7.20"]), [""; 0]);
        assert_eq!(fitting(&["1/2", "a", ""]), [""; 0]);
    }

    #[test]
    fn days_and_amounts_are_known_by_their_look() {
        for (text, day) in
            [("2026-11-20", true), ("2026-11-31", false), ("0004-11-20", true), ("2026-1-2", false), ("", false)]
        {
            assert_eq!(is_day(text), day, "{text}");
        }
        for amount in ["$1,234.50", "-12,50 €", "1'000", "EUR 12", "1 234,5", "£0.5"] {
            assert!(looks_like_amount(amount), "{amount}");
        }
        for other in ["12", "12.50", "$", "a,b", "", "12 apples", "1-2"] {
            assert!(!looks_like_amount(other), "{other}");
        }
    }
}
