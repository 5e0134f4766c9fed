//! `order=`: `a.desc.nullslast,b,meta->>k.asc`.

use tidegate_types::{
    collection::Collection,
    problem::Problem,
    query::{Direction, Nulls, OrderTerm, limits::MAX_ORDER},
};

use super::{
    column::{json_path, name, resolve},
    cursor::Cursor,
    problems::{over_limit, unsupported},
};

/// The terms of `order`, NULL placement filled in as PostgreSQL has it.
pub(crate) fn terms(value: &str, collection: &Collection) -> Result<Vec<OrderTerm>, Problem> {
    let mut cursor = Cursor::new("order", value);
    let mut terms = Vec::new();
    loop {
        cursor.skip_spaces();
        if terms.len() == MAX_ORDER {
            return Err(over_limit("terms in order", MAX_ORDER));
        }
        terms.push(term(&mut cursor, collection)?);
        cursor.skip_spaces();
        if cursor.at_end() {
            return Ok(terms);
        }
        if !cursor.eat(",") {
            return Err(cursor.expected("\",\" or end of input"));
        }
    }
}

fn term(cursor: &mut Cursor<'_>, collection: &Collection) -> Result<OrderTerm, Problem> {
    let text = cursor.rest();
    let name = name(cursor)?;
    if cursor.peek() == Some('(') {
        return Err(unsupported("Ordering by an embedded resource", text));
    }
    let path = json_path(cursor)?;
    let column = resolve(name, path, collection)?;
    let (mut direction, mut nulls) = (None, None);
    while cursor.eat(".") {
        let at_word = *cursor;
        let word = cursor.take_while(|c, _| c.is_ascii_alphanumeric());
        match word {
            "asc" if direction.is_none() && nulls.is_none() => direction = Some(Direction::Asc),
            "desc" if direction.is_none() && nulls.is_none() => direction = Some(Direction::Desc),
            "nullsfirst" if nulls.is_none() => nulls = Some(Nulls::First),
            "nullslast" if nulls.is_none() => nulls = Some(Nulls::Last),
            _ => return Err(at_word.expected("one of asc, desc, nullsfirst, nullslast")),
        }
    }
    let direction = direction.unwrap_or_default();
    let placed_by_default = match direction {
        Direction::Asc => Nulls::Last,
        Direction::Desc => Nulls::First,
    };
    Ok(OrderTerm { column, direction, nulls: nulls.unwrap_or(placed_by_default) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn parse(value: &str) -> Result<String, Problem> {
        terms(value, &fixture::products()).map(|terms| fixture::show_order(&terms))
    }

    #[test]
    fn directions_and_null_placement() {
        assert_eq!(
            parse("price.desc.nullslast,name, id.asc,\"odd name\".desc,meta->>k.nullsfirst").as_deref(),
            Ok(
                "price.desc.nullslast name.asc.nullslast id.asc.nullslast odd name.desc.nullsfirst meta->>k.asc.nullsfirst"
            )
        );
    }

    #[test]
    fn malformed_orders() {
        for bad in [
            "",
            ",",
            "id,",
            "id.up",
            "id.asc.desc",
            "id.nullslast.asc",
            "id.asc.nullsmiddle",
            "nope",
            "id desc x",
            "id.",
            "rel(id).desc",
            "id.asc.nullslast.nullsfirst",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse(&vec!["id"; 17].join(",")).expect_err("long").code, "TG008");
    }
}
