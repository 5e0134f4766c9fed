//! Logic trees: `or=(a.lt.3,and(b.eq.1,c.not.is.null))`.

use tidegate_types::{
    collection::Collection,
    problem::Problem,
    query::{Filter, Sense, limits::MAX_DEPTH},
};

use super::{
    column::column_ref,
    cursor::Cursor,
    filter::{Budget, Place, condition},
    problems::over_limit,
};

/// How the terms of a group are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// All of them hold.
    And,
    /// At least one holds.
    Or,
}

/// The value of an `and`/`or` parameter: one group in parentheses.
pub(crate) fn parameter(
    value: &str,
    join: Join,
    sense: Sense,
    collection: &Collection,
    budget: &mut Budget,
) -> Result<Filter, Problem> {
    let mut cursor = Cursor::new("logic tree", value);
    cursor.skip_spaces();
    let filter = group(&mut cursor, join, sense, collection, budget, 1)?;
    cursor.expect_end()?;
    Ok(filter)
}

fn group(
    cursor: &mut Cursor<'_>,
    join: Join,
    sense: Sense,
    collection: &Collection,
    budget: &mut Budget,
    depth: usize,
) -> Result<Filter, Problem> {
    if depth > MAX_DEPTH {
        return Err(over_limit("nested logic operators", MAX_DEPTH));
    }
    if !cursor.eat("(") {
        return Err(cursor.expected("\"(\""));
    }
    let mut terms = Vec::new();
    loop {
        cursor.skip_spaces();
        terms.push(term(cursor, collection, budget, depth)?);
        cursor.skip_spaces();
        if cursor.eat(")") {
            cursor.skip_spaces();
            return Ok(match join {
                Join::And => Filter::And { terms, sense },
                Join::Or => Filter::Or { terms, sense },
            });
        }
        if !cursor.eat(",") {
            return Err(cursor.expected("\",\" or \")\""));
        }
    }
}

fn term(
    cursor: &mut Cursor<'_>,
    collection: &Collection,
    budget: &mut Budget,
    depth: usize,
) -> Result<Filter, Problem> {
    if let Some((join, sense)) = group_start(cursor) {
        return group(cursor, join, sense, collection, budget, depth + 1);
    }
    let column = column_ref(cursor, collection)?;
    if !cursor.eat(".") {
        return Err(cursor.expected("\".\" and an operator"));
    }
    condition(cursor, column, Place::Tree, budget)
}

/// Steps over `[not.]and` or `[not.]or` where a parenthesis follows: a column may have these names too.
fn group_start(cursor: &mut Cursor<'_>) -> Option<(Join, Sense)> {
    let mut ahead = *cursor;
    let sense = if ahead.eat("not.") { Sense::Negated } else { Sense::Plain };
    let join = if ahead.eat("and") {
        Join::And
    } else if ahead.eat("or") {
        Join::Or
    } else {
        return None;
    };
    (ahead.peek() == Some('(')).then(|| {
        *cursor = ahead;
        (join, sense)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn parse(value: &str) -> Result<String, Problem> {
        parameter(value, Join::Or, Sense::Plain, &fixture::products(), &mut Budget::default())
            .map(|filter| fixture::show_filter(&filter))
    }

    #[test]
    fn trees_nest_negate_and_ignore_whitespace() {
        assert_eq!(
            parse("( id.lt.3 , not.and(name.eq.b,price.not.is.null) ,id.in.(1,2) , name.eq.\"x,y\" )").as_deref(),
            Ok(concat!(
                r#"(or (lt id "3 ") (not (and (eq name "b") (not (is price null)))) "#,
                r#"(in id "1" "2") (eq name "x,y"))"#
            ))
        );
    }

    #[test]
    fn values_end_at_reserved_characters_unless_they_are_protected() {
        assert_eq!(parse("(name.eq.{a,b},name.eq.a\"b)").as_deref(), Ok(r#"(or (eq name "{a,b}") (eq name "a\"b"))"#));
    }

    #[test]
    fn malformed_trees() {
        for bad in [
            "",
            "()",
            "(",
            "(id.eq.1",
            "id.eq.1",
            "(id.eq.1,)",
            "(,id.eq.1)",
            "(id.eq.1))",
            "(id.eq.1)x",
            "(nope.eq.1)",
            "(id)",
            "(id.)",
            "(and)",
            "(and())",
            "(xor(id.eq.1))",
            "(not.id.eq.1)",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_and_terms_are_bounded() {
        let nested = |n: usize| format!("{}(id.eq.1{}", "(and".repeat(n), ")".repeat(n + 1));
        assert!(parse(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(parse(&nested(MAX_DEPTH)).expect_err("deep").code, "TG008");
        let wide = format!("({})", vec!["id.eq.1"; 65].join(","));
        assert_eq!(parse(&wide).expect_err("wide").code, "TG008");
    }
}
