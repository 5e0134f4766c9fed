//! Two answers side by side.

use serde::Serialize;
use similar::{ChangeTag, TextDiff};

/// Answers up to this many characters stand on one line each.
const ONE_LINE: usize = 100;

/// Says how two values differ, indented: short ones whole, long ones as a diff of their lines.
#[must_use]
pub fn describe<T: Serialize>(before: (&str, &T), after: (&str, &T)) -> String {
    let (old, new) = (compact(before.1), compact(after.1));
    let width = before.0.len().max(after.0.len());
    if old.chars().count() <= ONE_LINE && new.chars().count() <= ONE_LINE {
        return format!("  {:width$}  {old}\n  {:width$}  {new}\n", before.0, after.0);
    }
    let mut text = format!("  {} (-), {} (+)\n", before.0, after.0);
    let (old, new) = (pretty(before.1), pretty(after.1));
    for change in TextDiff::from_lines(&old, &new).iter_all_changes() {
        let sign = match change.tag() {
            ChangeTag::Delete => '-',
            ChangeTag::Insert => '+',
            ChangeTag::Equal => ' ',
        };
        text.push_str(&format!("  {sign} {}\n", change.value().trim_end_matches('\n')));
    }
    text
}

/// A value as one line of JSON.
#[must_use]
pub fn compact<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("(cannot be shown: {error})"))
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("(cannot be shown: {error})"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn short_answers_stand_below_each_other() {
        let text = describe(("expected", &json!({"shards": ["a"]})), ("was", &json!({"all": true})));
        assert_eq!(text, "  expected  {\"shards\":[\"a\"]}\n  was       {\"all\":true}\n");
    }

    #[test]
    fn long_answers_are_compared_line_by_line() {
        let tags = |last: &str| {
            let mut tags: Vec<String> = (0..20).map(|i| format!("category:{i}")).collect();
            tags.push(last.to_owned());
            json!({"tags": tags})
        };
        let text = describe(("expected", &tags("x")), ("answered", &tags("y")));
        assert!(text.starts_with("  expected (-), answered (+)\n    {\n      \"tags\": [\n"), "{text}");
        assert!(text.contains("\n  -     \"x\"\n  +     \"y\"\n"), "{text}");
        assert_eq!(text.matches("category:7").count(), 1, "equal lines stand once");
    }
}
