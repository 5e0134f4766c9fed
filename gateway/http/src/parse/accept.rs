//! Which representation the client accepts.

use http::{HeaderMap, header::ACCEPT};
use tidegate_types::problem::{Problem, ProblemKind};

use super::problems::clip;

/// The representations there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// `application/json`
    #[default]
    Json,
    /// `application/vnd.pgrst.object+json`: exactly one row, as an object.
    Object,
}

/// Media types read at most; the rest of a longer list is not looked at.
const MAX_MEDIA_TYPES: usize = 32;

/// Negotiates by q-values, the first of equals winning.
///
/// # Errors
/// Nothing acceptable: 406 `PGRST107`.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Format, Problem> {
    let mut values = headers.get_all(ACCEPT).iter();
    let Some(first) = values.next() else { return Ok(Format::Json) };
    // What nearly every client sends.
    if matches!(first.as_bytes(), b"*/*" | b"application/json") && values.next().is_none() {
        return Ok(Format::Json);
    }
    let mut best: Option<(Format, f32)> = None;
    let mut any = false;
    let lists = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for media in lists.flat_map(|list| list.split(',')).map(str::trim).filter(|m| !m.is_empty()).take(MAX_MEDIA_TYPES) {
        any = true;
        if let Some((format, q)) = offered(media)
            && q > 0.0
            && best.is_none_or(|(_, best_q)| q > best_q)
        {
            best = Some((format, q));
        }
    }
    match best {
        Some((format, _)) => Ok(format),
        None if !any => Ok(Format::Json),
        None => {
            let asked: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
            Err(Problem::new(
                ProblemKind::NotAcceptable,
                "PGRST107",
                format!("None of these media types are available: {}", clip(&asked.join(", "))),
            )
            .hint("Available are application/json and application/vnd.pgrst.object+json."))
        }
    }
}

fn offered(media: &str) -> Option<(Format, f32)> {
    let mut parts = media.split(';').map(str::trim);
    let format = match parts.next()?.to_ascii_lowercase().as_str() {
        "application/json" | "application/*" | "*/*" => Format::Json,
        "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array" => Format::Json,
        "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object" => Format::Object,
        _ => return None,
    };
    let mut q = 1.0;
    for parameter in parts {
        match parameter.split_once('=') {
            Some(("q" | "Q", value)) => q = value.parse().unwrap_or(0.0),
            // `nulls=stripped` asks for a representation that is not offered.
            Some(("nulls", _)) => return None,
            _ => {}
        }
    }
    Some((format, q))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("valid"));
        negotiate(&headers).ok()
    }

    #[test]
    fn q_values_decide_and_the_first_of_equals_wins() {
        assert_eq!(negotiate(&HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(of("*/*"), Some(Format::Json));
        assert_eq!(of("application/vnd.pgrst.object+json"), Some(Format::Object));
        assert_eq!(of("application/json;q=0.1, application/vnd.pgrst.object+json"), Some(Format::Object));
        assert_eq!(of("application/json, application/vnd.pgrst.object+json"), Some(Format::Json));
        assert_eq!(of("text/html,application/xml;q=0.9,*/*;q=0.8"), Some(Format::Json));
        assert_eq!(of("application/json; charset=utf-8"), Some(Format::Json));
        assert_eq!(of(""), Some(Format::Json));
    }

    #[test]
    fn nothing_acceptable() {
        for none in ["text/csv", "application/json;q=0", "application/vnd.pgrst.object+json;nulls=stripped", "x"] {
            assert_eq!(of(none), None, "{none}");
        }
    }
}
