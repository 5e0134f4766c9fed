//! Readers of single values. Each takes what is accepted and returns the value, or a sentence
//! that says what was expected and what was found.

use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, time::Duration};

use toml::de::{DeInteger, DeValue};

use crate::section::{Reading, found, list, nearest};

/// The units of a duration and how many microseconds each has.
const TIME_UNITS: &[(&str, u64)] =
    &[("us", 1), ("ms", 1_000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

/// The units of a size and how many bytes each has.
const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// Any string.
pub(crate) fn text(value: &DeValue<'_>) -> Reading<String> {
    match value.as_str() {
        Some(text) if text.contains('\0') => Err("must not contain NUL".to_owned()),
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("expected a string, found {}", found(value))),
    }
}

/// A string that names something.
pub(crate) fn name(value: &DeValue<'_>) -> Reading<String> {
    let text = text(value)?;
    if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(text) }
}

/// An array of names without repetition. One name may stand alone, without brackets.
pub(crate) fn names(value: &DeValue<'_>) -> Reading<Vec<String>> {
    if value.is_str() {
        return name(value).map(|one| vec![one]);
    }
    let Some(items) = value.as_array() else {
        return Err(format!("expected an array of strings, found {}", found(value)));
    };
    let mut all: Vec<String> = Vec::new();
    for item in items {
        let one = name(item.get_ref())?;
        if all.contains(&one) {
            return Err(format!("names `{one}` twice"));
        }
        all.push(one);
    }
    if all.is_empty() {
        return Err("must not be empty; leave the key out for the default".to_owned());
    }
    Ok(all)
}

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Reading<bool> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", found(value)))
}

/// A whole number in a range.
pub(crate) fn integer<T>(range: RangeInclusive<T>) -> impl FnOnce(&DeValue<'_>) -> Reading<T>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |value| {
        let Some(number) = value.as_integer() else {
            return Err(format!("expected an integer, found {}", found(value)));
        };
        let fitting = to_i64(number).and_then(|n| T::try_from(n).ok()).filter(|n| range.contains(n));
        fitting.ok_or_else(|| format!("must be between {} and {}, found {number}", range.start(), range.end()))
    }
}

/// A number in a range; a whole number will do.
pub(crate) fn float(range: RangeInclusive<f64>) -> impl FnOnce(&DeValue<'_>) -> Reading<f64> {
    move |value| {
        let number = match value {
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok().filter(|_| number.radix() == 10),
            _ => return Err(format!("expected a number, found {}", found(value))),
        };
        // NaN is in no range.
        number
            .filter(|n| range.contains(n))
            .ok_or_else(|| format!("must be between {} and {}, found {}", range.start(), range.end(), found(value)))
    }
}

/// A duration with its unit: `"250ms"`, `"60s"`, `"5m"`.
pub(crate) fn duration(range: RangeInclusive<Duration>) -> impl FnOnce(&DeValue<'_>) -> Reading<Duration> {
    move |value| {
        const FORM: &str = "expected a duration such as \"250ms\", \"60s\" or \"5m\"";
        let Some(text) = value.as_str() else {
            return Err(format!("{FORM}, found {}", found(value)));
        };
        let micros = with_unit(text, TIME_UNITS).ok_or_else(|| format!("{FORM}, found {}", found(value)))?;
        let duration = Duration::from_micros(micros);
        if range.contains(&duration) {
            Ok(duration)
        } else {
            Err(format!("must be between {:?} and {:?}, found {text:?}", range.start(), range.end()))
        }
    }
}

/// A number of bytes, as an integer or with its unit: `"256MiB"`.
pub(crate) fn size<T>(range: RangeInclusive<u64>) -> impl FnOnce(&DeValue<'_>) -> Reading<T>
where
    T: TryFrom<u64>,
{
    move |value| {
        const FORM: &str = "expected a size such as \"64KiB\", \"256MiB\" or a number of bytes";
        let bytes = match value {
            DeValue::Integer(number) => to_i64(number).and_then(|n| u64::try_from(n).ok()),
            DeValue::String(text) => with_unit(text, SIZE_UNITS),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| format!("{FORM}, found {}", found(value)))?;
        let fitting = Some(bytes).filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok());
        fitting.ok_or_else(|| {
            format!("must be between {} and {}, found {}", bytes_text(*range.start()), bytes_text(*range.end()), {
                bytes_text(bytes)
            })
        })
    }
}

/// An address to listen on: `"127.0.0.1:8080"`, `"[::]:8080"`, and `"localhost:8080"`.
pub(crate) fn address(value: &DeValue<'_>) -> Reading<SocketAddr> {
    const FORM: &str = "expected an IP address and a port such as \"127.0.0.1:8080\" or \"[::]:8080\"";
    let Some(text) = value.as_str() else {
        return Err(format!("{FORM}, found {}", found(value)));
    };
    let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    numeric.as_deref().unwrap_or(text).parse().map_err(|_| format!("{FORM}, found {}", found(value)))
}

/// One of several words. A word of `later` gets its own answer instead of "unknown".
pub(crate) fn choice<T: Copy>(
    options: &'static [(&'static str, T)],
    later: &'static [&'static str],
) -> impl FnOnce(&DeValue<'_>) -> Reading<T> {
    move |value| {
        let words = || options.iter().map(|(word, _)| *word);
        let Some(given) = value.as_str() else {
            return Err(format!("expected one of {}, found {}", list(words()), found(value)));
        };
        if let Some((_, option)) = options.iter().find(|(word, _)| *word == given) {
            return Ok(*option);
        }
        if later.contains(&given) {
            return Err(format!("`{given}` is not in this version yet; available: {}", list(words())));
        }
        let meant = nearest(given, words()).map(|word| format!("; did you mean `{word}`?"));
        Err(format!("expected one of {}, found {}{}", list(words()), found(value), meant.unwrap_or_default()))
    }
}

/// A TOML value as JSON. Dates become strings, as JSON has none.
pub(crate) fn json(value: &DeValue<'_>) -> Reading<serde_json::Value> {
    use serde_json::Value;
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            Value::from(to_i64(number).ok_or_else(|| format!("{number} does not fit 64 bits"))?)
        }
        DeValue::Float(number) => {
            let finite = number.as_str().parse().ok().and_then(serde_json::Number::from_f64);
            Value::Number(finite.ok_or_else(|| format!("{number} is not a number JSON can hold"))?)
        }
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(datetime) => Value::String(datetime.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| json(item.get_ref())).collect::<Reading<_>>()?),
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.span().start);
            let pairs = entries.into_iter().map(|(key, item)| Ok((key.get_ref().to_string(), json(item.get_ref())?)));
            Value::Object(pairs.collect::<Reading<_>>()?)
        }
    })
}

fn to_i64(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A whole number directly followed by one of the units.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Bytes in the largest unit that divides them.
fn bytes_text(bytes: u64) -> String {
    let binary = SIZE_UNITS[..5].iter().rev();
    let fitting =
        binary.filter(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)).map(|(unit, f)| (unit, bytes / f));
    fitting.map(|(unit, n)| format!("{n}{unit}")).next().unwrap_or_else(|| "0B".to_owned())
}
