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
    let mut html =
        String::from("<table>\n<tr><th>plugin<th>hooks<th>in use<th>calls<th>errors<th>candidate<th>before\n");
    for plugin in plugins {
        let name = escaped(&text(&plugin["name"]));
        let hooks = plugin["hooks"].as_array().map_or(&[][..], Vec::as_slice);
        let all = |key: &str| hooks.iter().map(|hook| text(&hook[key])).collect::<Vec<_>>().join(", ");
        let version = |version: &Value| escaped(&text(&version["version"]));
        let candidate = match &plugin["candidate"] {
            Value::Null => "-".to_owned(),
            candidate => format!("{} ({})", version(candidate), escaped(&text(&candidate["stage"]))),
        };
        let _ = writeln!(
            html,
            "<tr><td><a href=\"/admin/plugins/{name}\">{name}</a><td>{}<td>{}<td>{}<td>{}<td>{candidate}<td>{}",
            escaped(&all("hook")),
            version(plugin),
            escaped(&all("calls")),
            escaped(&all("errors")),
            version(&plugin["previous"]),
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
        let page = page(Some(&[json!({ "name": "r", "version": "<script>\"'&" })]));
        assert!(page.contains("&lt;script&gt;&quot;&#39;&amp;") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn a_plugins_versions_and_their_stage_are_shown() {
        let hooks = json!([
            { "hook": "cache-policy", "calls": 7, "errors": { "trap": 1, "deadline": 2 } },
            { "hook": "invalidate", "calls": 9, "errors": {} },
        ]);
        let page = page(Some(&[json!({
            "name": "r",
            "version": "1.0.0",
            "hooks": hooks,
            "candidate": { "version": "1.1.0", "stage": "canary" },
        })]));
        let row = "<td>cache-policy, invalidate<td>1.0.0<td>7, 9<td>3, 0<td>1.1.0 (canary)<td>-";
        assert!(page.contains(row), "{page}");
    }

    #[test]
    fn without_leave_no_plugin_is_shown() {
        assert!(!page(None).contains("<th>plugin"));
        assert!(page(Some(&[])).contains("<th>plugin"));
    }
}
