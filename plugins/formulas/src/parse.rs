//! A parser by recursive descent that works out as it reads (Wirth, "Compilerbau", 1977).

/// Returns the value of a formula; an error says what is wrong with it.
pub fn value(formula: &str) -> Result<i64, String> {
    let mut rest = Rest { text: formula };
    let value = rest.sum()?;
    match rest.peek() {
        None => Ok(value),
        Some(_) => Err(format!("expected an operator at `{}`", rest.shown())),
    }
}

/// The unparsed rest.
struct Rest<'a> {
    text: &'a str,
}

impl Rest<'_> {
    fn peek(&mut self) -> Option<char> {
        self.text = self.text.trim_start();
        self.text.chars().next()
    }

    /// Reads the next character if it is one of these.
    fn one_of(&mut self, these: &[char]) -> Option<char> {
        let next = self.peek().filter(|next| these.contains(next))?;
        self.text = &self.text[next.len_utf8()..];
        Some(next)
    }

    fn sum(&mut self) -> Result<i64, String> {
        let mut left = self.product()?;
        while let Some(operator) = self.one_of(&['+', '-']) {
            let right = self.product()?;
            left = fits(if operator == '+' { left.checked_add(right) } else { left.checked_sub(right) })?;
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut left = self.power()?;
        while let Some(operator) = self.one_of(&['*', '/', '%']) {
            let right = self.power()?;
            left = match operator {
                '*' => fits(left.checked_mul(right))?,
                '/' => left / right,
                _ => left % right,
            };
        }
        Ok(left)
    }

    fn power(&mut self) -> Result<i64, String> {
        let base = self.atom()?;
        if self.one_of(&['^']).is_none() {
            return Ok(base);
        }
        let exponent = self.power()?;
        if exponent < 0 {
            return Err(format!("the exponent {exponent} is below 0"));
        }
        let mut power: i64 = 1;
        for _ in 0..exponent {
            power = fits(power.checked_mul(base))?;
        }
        Ok(power)
    }

    fn atom(&mut self) -> Result<i64, String> {
        match self.one_of(&['-', '(']) {
            Some('-') => fits(self.atom()?.checked_neg()),
            Some(_) => {
                let inner = self.sum()?;
                match self.one_of(&[')']) {
                    Some(_) => Ok(inner),
                    None => Err(format!("expected `)` at `{}`", self.shown())),
                }
            }
            None => self.number(),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let digits = self.text.len() - self.text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return Err(format!("expected a number or `(` at `{}`", self.shown()));
        }
        let (number, rest) = self.text.split_at(digits);
        self.text = rest;
        fits(number.parse().ok())
    }

    /// Returns the position, for messages.
    fn shown(&self) -> String {
        if self.text.is_empty() { "the end".into() } else { self.text.chars().take(20).collect() }
    }
}

fn fits(value: Option<i64>) -> Result<i64, String> {
    value.ok_or_else(|| "the value does not fit into 64 bits".into())
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn operators_bind_as_they_do_on_paper() {
        for (formula, expected) in [
            ("2 + 3 * 4", 14),
            ("(2 + 3) * 4", 20),
            ("20 - 5 - 5", 10),
            ("2 ^ 3 ^ 2", 512),
            ("-7 / 2", -3),
            ("7 % 4 * 2", 6),
            ("--1", 1),
            ("0 ^ 0", 1),
            (" 9223372036854775807 ", i64::MAX),
        ] {
            assert_eq!(value(formula), Ok(expected), "{formula}");
        }
    }

    #[test]
    fn what_is_no_formula_is_told() {
        for (formula, expected) in [
            ("", "expected a number or `(` at `the end`"),
            ("1 +", "expected a number or `(` at `the end`"),
            ("(1", "expected `)` at `the end`"),
            ("1 2", "expected an operator at `2`"),
            ("2 ^ -1", "the exponent -1 is below 0"),
            ("10 ^ 19", "the value does not fit into 64 bits"),
            ("9223372036854775808", "the value does not fit into 64 bits"),
        ] {
            assert_eq!(value(formula), Err(expected.into()), "{formula}");
        }
    }

    #[test]
    #[should_panic(expected = "divide by zero")]
    fn nobody_divides_by_zero() {
        drop(value("1 / (2 - 2)"));
    }
}
