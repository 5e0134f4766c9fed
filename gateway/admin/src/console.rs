//! The page at `/`: what there is, the plugins where it may show them, and the lines to steer them with.

use std::fmt::Write as _;

use serde_json::Value;

const PAGE: &str = include_str!("console.html");
/// Where the plugins go.
const PLACE: &str = "<!-- plugins -->";

/// The page; with the plugins' table if they may be shown.
pub(crate) fn page(plugins: Option<&[Value]>) -> String {
    let table = plugins.map(table).unwrap_or_default();
    PAGE.replacen(PLACE, &table, 1)
}

fn table(plugins: &[Value]) -> String {
    let mut html = String::from("<table>\n<tr><th>plugin<th>hooks<th>stage<th>version<th>calls<th>errors\n");
    for plugin in plugins {
        let cell = |key: &str| escaped(&text(&plugin[key]));
        let name = cell("name");
        let _ = writeln!(
            html,
            "<tr><td><a href=\"/admin/plugins/{name}\">{name}</a><td>{}<td>{}<td>{}<td>{}<td>{}",
            cell("hooks"),
            cell("stage"),
            cell("version"),
            cell("calls"),
            cell("errors")
        );
    }
    html + "</table>"
}

/// A value for people: what is in a list by commas, of an object its numbers together.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(counts) => counts.values().filter_map(Value::as_u64).sum::<u64>().to_string(),
        other => other.to_string(),
    }
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '&' => html.push_str("&amp;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_plugin_calls_itself_is_text_and_not_markup() {
        let page = page(Some(&[json!({ "name": "r", "version": "<script>\"'&", "stage": "active" })]));
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn without_leave_no_plugin_is_shown() {
        assert!(!page(None).contains("<th>plugin"));
        assert!(page(Some(&[])).contains("<th>plugin"));
    }
}
