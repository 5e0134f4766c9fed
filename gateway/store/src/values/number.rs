//! Numbers, as PostgreSQL reads and prints them.

use std::cmp::Ordering;

use super::{kind::modifiers, text::trim, wrong::Wrong};

const DECIMAL: &str = "the number in decimal digits";
/// Digits of a number that is taken; PostgreSQL's own limit is far above.
const MAX_DIGITS: usize = 1000;

/// The widths of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Int {
    Two,
    Four,
    Eight,
}

impl Int {
    const fn name(self) -> &'static str {
        match self {
            Self::Two => "smallint",
            Self::Four => "integer",
            Self::Eight => "bigint",
        }
    }

    const fn holds(self, value: i64) -> bool {
        match self {
            Self::Two => value >= i16::MIN as i64 && value <= i16::MAX as i64,
            Self::Four => value >= i32::MIN as i64 && value <= i32::MAX as i64,
            Self::Eight => true,
        }
    }

    pub(super) fn render(self, text: &str) -> Result<String, Wrong> {
        let trimmed = trim(text);
        let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(if is_later_form(digits) {
                Wrong::Unsure { send: DECIMAL }
            } else {
                Wrong::syntax(self.name(), text)
            });
        }
        match trimmed.parse::<i64>() {
            Ok(value) if self.holds(value) => Ok(value.to_string()),
            _ => Err(Wrong::new("22003", format!("value \"{text}\" is out of range for type {}", self.name()))),
        }
    }
}

/// Hexadecimal, octal and binary digits, and underscores, which PostgreSQL 16 takes and 15 does not.
fn is_later_form(digits: &str) -> bool {
    digits.contains('_') || ["0x", "0X", "0o", "0O", "0b", "0B"].iter().any(|prefix| digits.starts_with(prefix))
}

/// Of `numeric(precision, scale)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Precision {
    precision: usize,
    scale: usize,
}

impl Precision {
    /// From a type's name; `None` for scales that are negative or larger than the precision.
    #[expect(clippy::option_option, reason = "not known, not bounded and bounded are three things")]
    pub(super) fn of(type_name: &str) -> Option<Option<Self>> {
        match modifiers(type_name)[..] {
            [] => Some(None),
            [precision, scale] => {
                let (precision, scale) = (usize::try_from(precision).ok()?, usize::try_from(scale).ok()?);
                (scale <= precision).then_some(Some(Self { precision, scale }))
            }
            _ => None,
        }
    }
}

/// A decimal number, exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// ASCII digits, the last `scale` of them after the point; at least one before it.
    digits: Vec<u8>,
    scale: usize,
}

/// What stands where a decimal number should.
enum NotDecimal {
    Syntax,
    Other,
}

impl Decimal {
    /// Reads what PostgreSQL's `numeric` and JSON have in common.
    fn read(text: &str) -> Result<Self, NotDecimal> {
        let trimmed = trim(text);
        let (negative, rest) = match trimmed.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (rest, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || (whole.is_empty() && fraction.is_empty()) {
            let special = ["nan", "inf"].iter().any(|name| rest.to_ascii_lowercase().starts_with(name));
            return Err(if special || is_later_form(rest) { NotDecimal::Other } else { NotDecimal::Syntax });
        }
        let exponent = match exponent {
            None => 0,
            Some(exponent) => {
                let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                if unsigned.is_empty() || !is_number(unsigned) {
                    return Err(if unsigned.contains('_') { NotDecimal::Other } else { NotDecimal::Syntax });
                }
                exponent.parse::<i32>().map_err(|_| NotDecimal::Other)?
            }
        };
        Self::assemble(negative, whole, fraction, exponent).ok_or(NotDecimal::Other)
    }

    fn assemble(negative: bool, whole: &str, fraction: &str, exponent: i32) -> Option<Self> {
        let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let places = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        let zeros = usize::try_from(-places).unwrap_or(0);
        let scale = usize::try_from(places).unwrap_or(0);
        if digits.len() + zeros > MAX_DIGITS || scale > MAX_DIGITS {
            return None;
        }
        digits.resize(digits.len() + zeros, b'0');
        let mut decimal = Self { negative, digits, scale };
        decimal.normalize();
        Some(decimal)
    }

    /// One digit before the point, or as many as it takes.
    fn normalize(&mut self) {
        let whole = self.scale + 1;
        if self.digits.len() < whole {
            let mut filled = vec![b'0'; whole - self.digits.len()];
            filled.append(&mut self.digits);
            self.digits = filled;
        }
        let leading = self.digits.iter().take(self.digits.len() - whole).take_while(|digit| **digit == b'0').count();
        self.digits.drain(..leading);
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    fn is_zero(&self) -> bool {
        self.digits.iter().all(|digit| *digit == b'0')
    }

    /// Half away from zero.
    fn round(&mut self, scale: usize) {
        if scale >= self.scale {
            self.digits.resize(self.digits.len() + scale - self.scale, b'0');
            self.scale = scale;
            return;
        }
        let kept = self.digits.len() - (self.scale - scale);
        let up = self.digits[kept] >= b'5';
        self.digits.truncate(kept);
        self.scale = scale;
        if up {
            for digit in self.digits.iter_mut().rev() {
                if *digit < b'9' {
                    *digit += 1;
                    return;
                }
                *digit = b'0';
            }
            self.digits.insert(0, b'1');
        }
    }

    /// Digits before the point, without leading zeros.
    fn whole_digits(&self) -> usize {
        let whole = &self.digits[..self.digits.len() - self.scale];
        whole.len() - whole.iter().take_while(|digit| **digit == b'0').count()
    }

    fn print(&self) -> String {
        let mut text = String::with_capacity(self.digits.len() + 2);
        if self.negative && !self.is_zero() {
            text.push('-');
        }
        for (i, digit) in self.digits.iter().enumerate() {
            if i + self.scale == self.digits.len() {
                text.push('.');
            }
            text.push(char::from(*digit));
        }
        text
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let sign = |decimal: &Self| {
            if decimal.is_zero() {
                0
            } else if decimal.negative {
                -1
            } else {
                1
            }
        };
        let (mine, theirs) = (sign(self), sign(other));
        if mine != theirs || mine == 0 {
            return Some(mine.cmp(&theirs));
        }
        let (mut a, mut b) = (self.clone(), other.clone());
        let scale = a.scale.max(b.scale);
        a.round(scale);
        b.round(scale);
        let magnitude = a.digits.len().cmp(&b.digits.len()).then_with(|| a.digits.cmp(&b.digits));
        Some(if mine < 0 { magnitude.reverse() } else { magnitude })
    }
}

pub(super) fn numeric(text: &str, precision: Option<Precision>) -> Result<String, Wrong> {
    let mut decimal = Decimal::read(text).map_err(|not| match not {
        NotDecimal::Syntax => Wrong::syntax("numeric", text),
        NotDecimal::Other => Wrong::Unsure { send: "a number of at most 1000 decimal digits" },
    })?;
    if let Some(Precision { precision, scale }) = precision {
        decimal.round(scale);
        let whole = precision - scale;
        if decimal.whole_digits() > whole {
            let bound = if whole == 0 { "1".to_owned() } else { format!("10^{whole}") };
            return Err(Wrong::Refused {
                code: "22003",
                message: "numeric field overflow".to_owned(),
                detail: Some(format!(
                    "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
                )),
            });
        }
    }
    Ok(decimal.print())
}

/// Above, the shortest digits may lie halfway between two numbers, where PostgreSQL takes others.
const SURE_8: f64 = 9_007_199_254_740_992.0;
const SURE_4: f32 = 16_777_216.0;

pub(super) fn float8(text: &str) -> Result<String, Wrong> {
    let value: f64 = float(text, "double precision")?;
    range(value.is_infinite() || (value == 0.0 && has_digits(text)), text, "double precision")?;
    if value.abs() >= SURE_8 || value.is_subnormal() {
        return Err(Wrong::Unsure { send: "a number below 2^53" });
    }
    Ok(print_float(&even(&format!("{value:e}"), value, |text| text.parse() == Ok(value)), 15))
}

pub(super) fn float4(text: &str) -> Result<String, Wrong> {
    let value: f32 = float(text, "real")?;
    range(value.is_infinite() || (value == 0.0 && has_digits(text)), text, "real")?;
    if value.abs() >= SURE_4 || value.is_subnormal() {
        return Err(Wrong::Unsure { send: "a number below 2^24" });
    }
    Ok(print_float(&even(&format!("{value:e}"), value.into(), |text| text.parse() == Ok(value)), 6))
}

fn float<T: std::str::FromStr>(text: &str, type_name: &str) -> Result<T, Wrong> {
    match Decimal::read(text) {
        Err(NotDecimal::Syntax) => Err(Wrong::syntax(type_name, text)),
        Err(NotDecimal::Other) => Err(Wrong::Unsure { send: DECIMAL }),
        Ok(_) => trim(text).parse().map_err(|_| Wrong::syntax(type_name, text)),
    }
}

fn range(is_out: bool, text: &str, type_name: &str) -> Result<(), Wrong> {
    if is_out {
        return Err(Wrong::new("22003", format!("\"{}\" is out of range for type {type_name}", trim(text))));
    }
    Ok(())
}

/// Whether a text that means a number does not mean zero.
fn has_digits(text: &str) -> bool {
    text.bytes().take_while(|b| !matches!(b, b'e' | b'E')).any(|b| matches!(b, b'1'..=b'9'))
}

/// Of two numbers with the shortest digits that are equally far from the value, PostgreSQL takes the one that ends in an
/// even digit. `scientific` is either.
fn even(scientific: &str, value: f64, is_value: impl Fn(&str) -> bool) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific.to_owned() };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let end = mantissa.len() + usize::from(digits == 1);
    let cut = |exact: String| {
        let (kept, rest) = exact.split_at(end.min(exact.len()));
        let rest = rest.split_once('e').map_or(rest, |(rest, _)| rest);
        let halfway = rest.strip_prefix('5').is_some_and(|zeros| zeros.bytes().all(|b| b == b'0'));
        halfway.then(|| kept.trim_end_matches('.').to_owned())
    };
    // A look at some digits first; then at all of them, of which no number of this size has more.
    let kept = cut(format!("{value:.40e}")).and_then(|_| cut(format!("{value:.800e}")));
    let below = kept.filter(|kept| kept.ends_with(['0', '2', '4', '6', '8'])).map(|kept| format!("{kept}e{exponent}"));
    below.filter(|below| is_value(below)).unwrap_or_else(|| scientific.to_owned())
}

/// PostgreSQL's form of the shortest digits, which come as `d.ddde-x`: with an exponent below -4 and from `limit`.
fn print_float(scientific: &str, limit: i32) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if !(-4..limit).contains(&exponent) {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{direction}{:02}", exponent.unsigned_abs());
    }
    match usize::try_from(exponent) {
        Err(_) => format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        Ok(whole) if digits.len() <= whole + 1 => format!("{sign}{digits:0<width$}", width = whole + 1),
        Ok(whole) => format!("{sign}{}.{}", &digits[..=whole], &digits[whole + 1..]),
    }
}
