//! A policy's configuration on the command line.

use std::fs;

use serde_json::Value;

/// JSON, or `@` and the file it is in.
///
/// # Errors
/// What is wrong, and what to write.
pub fn parse(text: &str) -> Result<Value, String> {
    let (json, origin) = match text.strip_prefix('@') {
        Some(file) => (fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?, file),
        None => (text.to_owned(), "it"),
    };
    let value: Value = serde_json::from_str(&json).map_err(|error| {
        format!("{origin} is not JSON: {error}. Expected an object such as '{{\"buckets\": 64}}', or @FILE")
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(format!("{origin} must be a JSON object, such as '{{\"buckets\": 64}}'"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_an_object_from_the_line_or_a_file() {
        assert_eq!(parse(r#"{"buckets":8}"#), Ok(json!({"buckets": 8})));
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("config.json");
        fs::write(&file, "{}").expect("written");
        assert_eq!(parse(&format!("@{}", file.display())), Ok(json!({})));
        assert!(parse("buckets=8").is_err_and(|says| says.starts_with("it is not JSON: expected value at line 1")));
        assert_eq!(parse("[8]"), Err("it must be a JSON object, such as '{\"buckets\": 64}'".into()));
        assert!(parse("@/nowhere/at.all").is_err_and(|says| says.starts_with("cannot read /nowhere/at.all: ")));
    }
}
