//! The problems a request can have before anything was asked of a pipeline. PostgREST's codes and
//! wording where it has them.

use tidegate_types::{
    collection::Collection,
    problem::{Problem, ProblemKind, codes},
};

/// What echoes of the client's text are cut to.
const ECHO_CHARS: usize = 96;

/// The start of a client's text, short enough for a message.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Text of the dialect that does not parse: `what` is its part, `at` the byte where reading stopped.
pub(crate) fn syntax(what: &str, text: &str, at: usize, expected: &str) -> Problem {
    let column = text.get(..at).map_or(0, |read| read.chars().count()) + 1;
    let found = match text.get(at..).and_then(|rest| rest.chars().next()) {
        Some(c) => format!("\"{c}\""),
        None => "end of input".to_owned(),
    };
    let message = format!("\"failed to parse {what} ({})\" (line 1, column {column})", clip(text));
    bad_request("PGRST100", message).details(format!("unexpected {found} expecting {expected}"))
}

/// A part of PostgREST's dialect that is not offered.
pub(crate) fn unsupported(feature: &str, text: &str) -> Problem {
    bad_request("PGRST100", format!("{feature} is not supported: \"{}\"", clip(text)))
        .hint("The dialect as served is described in HTTP.md.")
}

/// A 400.
pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::BadRequest, code, message)
}

/// Bytes that are not text this server takes.
pub(crate) fn bad_text(what: &str, why: &str) -> Problem {
    bad_request(codes::BAD_HTTP, format!("{what} {why}"))
}

/// A bound of [`tidegate_types::query::limits`] or of the body parser.
pub(crate) fn over_limit(what: &str, most: usize) -> Problem {
    bad_request(codes::LIMIT_EXCEEDED, format!("Too many {what}: at most {most} are taken"))
}

/// A column that the collection does not have, in a filter, `select` or `order`.
pub(crate) fn unknown_column(collection: &Collection, name: &str) -> Problem {
    let shown = clip(name);
    let problem = bad_request("42703", format!("column {}.{shown} does not exist", collection.table));
    match nearest(name, collection.columns.iter().map(|c| c.name.as_str())) {
        Some(near) => {
            problem.hint(format!("Perhaps you meant to reference the column \"{}.{near}\".", collection.table))
        }
        None => problem,
    }
}

/// A column that the collection does not have, in a body or in `columns`.
pub(crate) fn unknown_body_column(collection: &Collection, name: &str) -> Problem {
    let message = format!("Could not find the '{}' column of '{}' in the schema cache", clip(name), collection.name);
    let problem = bad_request("PGRST204", message);
    match nearest(name, collection.columns.iter().map(|c| c.name.as_str())) {
        Some(near) => problem.hint(format!("Perhaps you meant the column '{near}'.")),
        None => problem,
    }
}

/// The candidate that looks most like `name`, where one does.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Names of relations and columns have at most 63 bytes; longer text is no typing error.
    if name.len() > 63 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_problems_name_the_part_and_the_column() {
        let problem = syntax("filter", "éfoo.1", 2, "an operator");
        assert_eq!(problem.message, "\"failed to parse filter (éfoo.1)\" (line 1, column 2)");
        assert_eq!(problem.details.as_deref(), Some("unexpected \"f\" expecting an operator"));
        let at_end = syntax("order", "", 0, "a column");
        assert_eq!(at_end.details.as_deref(), Some("unexpected end of input expecting a column"));
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let long = "é".repeat(500);
        assert_eq!(clip(&long).chars().count(), ECHO_CHARS + 3);
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["products", "profiles", "orders"];
        assert_eq!(nearest("prodcts", names.into_iter()), Some("products"));
        assert_eq!(nearest("zzz", names.into_iter()), None);
    }
}
