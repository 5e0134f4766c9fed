//! `select=`: columns, renames, JSON paths and casts.

use tidegate_types::{
    collection::Collection,
    problem::Problem,
    query::{Projection, SelectItem, limits::MAX_SELECT},
};

use super::{
    column::{json_path, name, resolve},
    cursor::Cursor,
    problems::{over_limit, unsupported},
};

/// Longest type name of a cast: that of an identifier in PostgreSQL.
const MAX_CAST: usize = 63;

/// The projection that `select` asks for. Absent, empty and `*` are the whole row.
pub(crate) fn projection(value: &str, collection: &Collection) -> Result<Projection, Problem> {
    if value.trim().is_empty() || value.trim() == "*" {
        return Ok(Projection::Whole);
    }
    let mut cursor = Cursor::new("select parameter", value);
    let mut items = Vec::new();
    loop {
        cursor.skip_spaces();
        if items.len() == MAX_SELECT {
            return Err(over_limit("items in select", MAX_SELECT));
        }
        items.push(item(&mut cursor, collection)?);
        cursor.skip_spaces();
        if cursor.at_end() {
            return Ok(Projection::Items(items.into()));
        }
        if !cursor.eat(",") {
            return Err(cursor.expected("\",\" or end of input"));
        }
    }
}

fn item(cursor: &mut Cursor<'_>, collection: &Collection) -> Result<SelectItem, Problem> {
    if cursor.eat("*") {
        return Ok(SelectItem::Star);
    }
    let text = cursor.rest();
    if text.starts_with("...") {
        return Err(unsupported("Embedding (a spread)", text));
    }
    let mut first = name(cursor)?;
    let mut alias = None;
    if cursor.peek() == Some(':') && !cursor.rest().starts_with("::") {
        cursor.eat(":");
        alias = Some(first);
        first = name(cursor)?;
    }
    refuse_relations(cursor, &first, text)?;
    let path = json_path(cursor)?;
    let column = resolve(first, path, collection)?;
    let cast = if cursor.eat("::") { Some(cast(cursor)?) } else { None };
    refuse_relations(cursor, "", text)?;
    Ok(SelectItem::Column { alias, column, cast })
}

/// Embeds and aggregates are told apart from typing errors.
fn refuse_relations(cursor: &Cursor<'_>, name: &str, text: &str) -> Result<(), Problem> {
    match cursor.peek() {
        Some('(') if name == "count" => Err(unsupported("An aggregate", text)),
        Some('(' | '!') => Err(unsupported("Embedding", text)),
        Some('.') => Err(unsupported("An aggregate", text)),
        _ => Ok(()),
    }
}

fn cast(cursor: &mut Cursor<'_>) -> Result<String, Problem> {
    let at_type = *cursor;
    let cast = cursor.take_while(|c, _| c.is_ascii_alphanumeric() || matches!(c, '_' | ' '));
    match cast.trim() {
        cast if !cast.is_empty() && cast.len() <= MAX_CAST => Ok(cast.to_owned()),
        _ => Err(at_type.expected("the name of a type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn parse(value: &str) -> Result<String, Problem> {
        projection(value, &fixture::products()).map(|p| fixture::show_projection(&p))
    }

    #[test]
    fn whole_rows() {
        for whole in ["", "*", " * "] {
            assert_eq!(parse(whole).as_deref(), Ok("*"), "{whole:?}");
        }
    }

    #[test]
    fn items_keep_their_order_renames_paths_and_casts() {
        assert_eq!(
            parse(
                "name, title:name,price::text,p:price::double precision,meta->a->>b,first:meta->0::int4,\"odd name\",*"
            )
            .as_deref(),
            Ok("name title:name price::text p:price::double precision meta->a->>b first:meta->0::int4 odd name *")
        );
    }

    #[test]
    fn what_is_not_offered_is_named() {
        for (text, feature) in [
            ("id,orders(id)", "Embedding"),
            ("orders!inner(id)", "Embedding"),
            ("a:orders(*)", "Embedding"),
            ("...orders(id)", "Embedding (a spread)"),
            ("count()", "An aggregate"),
            ("price.sum()", "An aggregate"),
            ("meta->>n::int.sum()", "An aggregate"),
        ] {
            let problem = parse(text).expect_err(text);
            assert!(problem.message.starts_with(feature), "{text}: {}", problem.message);
        }
    }

    #[test]
    fn malformed_lists() {
        for bad in [
            ",",
            "id,",
            ",id",
            "id,,name",
            "id name price x",
            "id;drop",
            "nope",
            "a:",
            ":id",
            "a:*",
            "id::",
            "id::a;b",
            "id::\"t\"",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse(&vec!["id"; 129].join(",")).expect_err("long").code, "TG008");
    }
}
