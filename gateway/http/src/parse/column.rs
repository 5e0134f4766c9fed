//! Column names and JSON paths: `name`, `"quoted name"`, `meta->a->>b`, `tags->0`.

use tidegate_types::{
    collection::Collection,
    problem::Problem,
    query::{ColumnRef, JsonOutput, JsonStep, JsonTarget, limits::MAX_PATH},
};

use super::{
    cursor::Cursor,
    problems::{bad_request, clip, over_limit, unknown_column},
};

/// A field name: quoted, or letters, digits, `_`, `$`, inner spaces and dashes that begin no arrow.
pub(crate) fn name(cursor: &mut Cursor<'_>) -> Result<String, Problem> {
    if let Some(name) = cursor.quoted() {
        return if name.is_empty() { Err(cursor.expected("a name between the quotes")) } else { Ok(name) };
    }
    let at_name = *cursor;
    let name = cursor.take_while(|c, next| match c {
        '-' => !next.starts_with('>'),
        c => c.is_alphanumeric() || matches!(c, '_' | ' ' | '$'),
    });
    match name.trim() {
        "" => Err(at_name.expected("field name (letters, digits, \"_\" or \"$\", or a quoted name)")),
        name => Ok(name.to_owned()),
    }
}

/// A column of the collection and the path into it.
pub(crate) fn column_ref(cursor: &mut Cursor<'_>, collection: &Collection) -> Result<ColumnRef, Problem> {
    let name = name(cursor)?;
    let path = json_path(cursor)?;
    resolve(name, path, collection)
}

/// Checks that the collection has the column.
pub(crate) fn resolve(name: String, path: Vec<JsonStep>, collection: &Collection) -> Result<ColumnRef, Problem> {
    if collection.column(&name).is_none() {
        return Err(unknown_column(collection, &name));
    }
    Ok(ColumnRef { name, path })
}

/// The steps after a name; none is fine.
pub(crate) fn json_path(cursor: &mut Cursor<'_>) -> Result<Vec<JsonStep>, Problem> {
    let mut path: Vec<JsonStep> = Vec::new();
    loop {
        let at_arrow = *cursor;
        let output = if cursor.eat("->>") {
            JsonOutput::Text
        } else if cursor.eat("->") {
            JsonOutput::Json
        } else {
            return Ok(path);
        };
        if path.last().is_some_and(|last| last.output == JsonOutput::Text) {
            return Err(at_arrow.expected("no further step: ->> gives text"));
        }
        if path.len() == MAX_PATH {
            return Err(over_limit("steps of a JSON path", MAX_PATH));
        }
        path.push(JsonStep { to: target(cursor)?, output });
    }
}

fn target(cursor: &mut Cursor<'_>) -> Result<JsonTarget, Problem> {
    if let Some(key) = cursor.quoted() {
        return Ok(JsonTarget::Key(key));
    }
    let at_key = *cursor;
    let key = cursor.take_while(|c, next| match c {
        '-' => !next.starts_with('>'),
        c => !matches!(c, '(' | ')' | ':' | '.' | ',' | '>'),
    });
    let digits = key.strip_prefix('-').unwrap_or(key);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let too_far = |_| bad_request("PGRST100", format!("The array index {} is out of range", clip(key)));
        return key.parse().map(JsonTarget::Index).map_err(too_far);
    }
    match key.trim() {
        "" => Err(at_key.expected("a JSON key or an array index")),
        key => Ok(JsonTarget::Key(key.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn parse(text: &str) -> Result<String, Problem> {
        let mut cursor = Cursor::new("x", text);
        let column = column_ref(&mut cursor, &fixture::products())?;
        cursor.expect_end()?;
        Ok(format!("{column}"))
    }

    #[test]
    fn names_and_paths() {
        for (text, shown) in [
            ("id", "id"),
            (" id ", "id"),
            ("odd name", "odd name"),
            ("\"odd name\"", "odd name"),
            ("da-sh", "da-sh"),
            ("meta->a->>b", "meta->a->>b"),
            ("meta->-1->0", "meta->-1->0"),
            ("meta->\"a.b\"->>c-d", "meta->a.b->>c-d"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(shown), "{text}");
        }
    }

    #[test]
    fn wrong_names_and_paths() {
        for text in ["", "\"\"", "\"id", "(", "id;", "meta->", "meta->>a->b", "meta->>a->>b", "meta->99999999999", "ID"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&format!("meta{}", "->a".repeat(9))).is_err());
    }
}
