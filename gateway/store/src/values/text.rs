//! Text and what is written as text: booleans, UUIDs, bytes, labels.

use super::{json::quoted, wrong::Wrong};

/// Without the blanks that PostgreSQL's numbers and booleans may stand in.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}'])
}

/// What begins one of the words, as far as it is told from the others.
pub(super) fn boolean(text: &str) -> Result<bool, Wrong> {
    let word = trim(text).to_ascii_lowercase();
    let begins = |whole: &str| !word.is_empty() && whole.starts_with(&word);
    match word.as_str() {
        "1" => Ok(true),
        "0" => Ok(false),
        "on" => Ok(true),
        "of" | "off" => Ok(false),
        _ if begins("true") || begins("yes") => Ok(true),
        _ if begins("false") || begins("no") => Ok(false),
        _ => Err(Wrong::syntax("boolean", text)),
    }
}

/// Blanks beyond the length are cut off; anything else beyond it is refused.
fn fit<'a>(text: &'a str, max: usize, type_name: &str) -> Result<&'a str, Wrong> {
    match text.char_indices().nth(max) {
        None => Ok(text),
        Some((end, _)) if text[end..].bytes().all(|b| b == b' ') => Ok(&text[..end]),
        Some(_) => Err(Wrong::new("22001", format!("value too long for type {type_name}({max})"))),
    }
}

pub(super) fn varchar(text: &str, max: Option<usize>) -> Result<String, Wrong> {
    let text = max.map_or(Ok(text), |max| fit(text, max, "character varying"))?;
    Ok(quoted(text))
}

pub(super) fn bpchar(text: &str, length: usize) -> Result<String, Wrong> {
    let text = fit(text, length, "character")?;
    let missing = length - text.chars().count();
    Ok(quoted(&format!("{text}{}", " ".repeat(missing))))
}

/// Hexadecimal digits, with a hyphen after any whole number of two bytes, perhaps in braces.
pub(super) fn uuid(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::syntax("uuid", text);
    let inside = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(wrong)?,
        None => text,
    };
    let mut digits = String::with_capacity(32);
    let mut may_break = false;
    for c in inside.chars() {
        match c {
            '-' if may_break => may_break = false,
            _ if c.is_ascii_hexdigit() => {
                digits.push(c.to_ascii_lowercase());
                may_break = digits.len().is_multiple_of(4) && digits.len() < 32;
            }
            _ => return Err(wrong()),
        }
    }
    if digits.len() != 32 {
        return Err(wrong());
    }
    let part = |from: usize, to: usize| &digits[from..to];
    Ok(format!("\"{}-{}-{}-{}-{}\"", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)))
}

pub(super) fn bytea(text: &str) -> Result<String, Wrong> {
    match text.strip_prefix("\\x") {
        Some(digits) if digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(format!("\"\\\\x{}\"", digits.to_ascii_lowercase()))
        }
        _ => Err(Wrong::Unsure { send: "the bytes as \\\\x and two hexadecimal digits each" }),
    }
}

pub(super) fn label(text: &str, type_name: &str, labels: &[String]) -> Result<String, Wrong> {
    match labels.iter().any(|label| label == text) {
        true => Ok(quoted(text)),
        false => Err(Wrong::new("22P02", format!("invalid input value for enum {type_name}: \"{text}\""))),
    }
}
