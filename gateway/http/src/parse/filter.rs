//! Conditions: `[not.]operator.value`, as a query parameter's value or inside a logic tree.

use tidegate_types::{
    problem::Problem,
    query::{
        ColumnRef, Filter, IsValue, Operator, Sense,
        limits::{MAX_IN_VALUES, MAX_TERMS},
    },
};

use super::{
    cursor::Cursor,
    problems::{over_limit, unsupported},
};

const OPERATORS: &str = "\"not\" or operator (eq, neq, gt, gte, lt, lte, like, ilike, in, is)";

/// Operators of PostgREST that are not offered: named in the answer instead of called unknown.
const NOT_OFFERED: [&str; 17] = [
    "match",
    "imatch",
    "isdistinct",
    "fts",
    "plfts",
    "phfts",
    "wfts",
    "cs",
    "cd",
    "ov",
    "sl",
    "sr",
    "nxl",
    "nxr",
    "adj",
    "any",
    "all",
];

/// Where a condition stands, which decides where its value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The value of a query parameter: runs to the end, taken literally.
    Parameter,
    /// A logic tree: ends at `,` or `)`, quotes protect both.
    Tree,
}

/// Counts the comparisons of a request.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    terms: usize,
}

impl Budget {
    /// One more comparison.
    pub(crate) fn spend(&mut self) -> Result<(), Problem> {
        self.terms += 1;
        if self.terms > MAX_TERMS { Err(over_limit("filters", MAX_TERMS)) } else { Ok(()) }
    }
}

/// What follows the column.
pub(crate) fn condition(
    cursor: &mut Cursor<'_>,
    column: ColumnRef,
    place: Place,
    budget: &mut Budget,
) -> Result<Filter, Problem> {
    budget.spend()?;
    let sense = if cursor.eat("not.") { Sense::Negated } else { Sense::Plain };
    let at_operator = *cursor;
    let word = cursor.take_while(|c, _| c.is_ascii_alphanumeric());
    let compare = match word {
        "eq" => Some(Operator::Eq),
        "neq" => Some(Operator::Neq),
        "gt" => Some(Operator::Gt),
        "gte" => Some(Operator::Gte),
        "lt" => Some(Operator::Lt),
        "lte" => Some(Operator::Lte),
        "like" => Some(Operator::Like),
        "ilike" => Some(Operator::Ilike),
        "in" | "is" => None,
        other if NOT_OFFERED.contains(&other) => {
            return Err(unsupported(&format!("The operator {other}"), cursor.text()));
        }
        _ => return Err(at_operator.expected(OPERATORS)),
    };
    if cursor.peek() == Some('(') {
        return Err(unsupported("A modifier of an operator", cursor.text()));
    }
    if !cursor.eat(".") {
        return Err(cursor.expected("\".\" and a value"));
    }
    match compare {
        Some(operator) => {
            let value = match place {
                Place::Parameter => cursor.take_rest().to_owned(),
                Place::Tree => tree_value(cursor),
            };
            Ok(Filter::Compare { column, operator, value, sense })
        }
        None if word == "in" => Ok(Filter::In { column, values: list(cursor)?, sense }),
        None => Ok(Filter::Is { column, value: is_value(cursor)?, sense }),
    }
}

fn is_value(cursor: &mut Cursor<'_>) -> Result<IsValue, Problem> {
    let at_word = *cursor;
    let word = cursor.take_while(|c, _| c.is_ascii_alphabetic() || c == '_');
    let known = [
        ("null", IsValue::Null),
        ("not_null", IsValue::NotNull),
        ("true", IsValue::True),
        ("false", IsValue::False),
        ("unknown", IsValue::Unknown),
    ];
    known
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
        .map(|(_, value)| value)
        .ok_or_else(|| at_word.expected("isVal: (null, not_null, true, false, unknown)"))
}

/// `(a,"b,c")`. `()` is the empty list; `("")` holds the empty string.
fn list(cursor: &mut Cursor<'_>) -> Result<Vec<String>, Problem> {
    if !cursor.eat("(") {
        return Err(cursor.expected("\"(\""));
    }
    cursor.skip_spaces();
    let mut values = Vec::new();
    if cursor.eat(")") {
        return Ok(values);
    }
    loop {
        if values.len() == MAX_IN_VALUES {
            return Err(over_limit("values in one list", MAX_IN_VALUES));
        }
        values.push(protected(cursor).unwrap_or_else(|| until_reserved(cursor)));
        if cursor.eat(")") {
            cursor.skip_spaces();
            return Ok(values);
        }
        if !cursor.eat(",") {
            return Err(cursor.expected("\",\" or \")\""));
        }
    }
}

fn tree_value(cursor: &mut Cursor<'_>) -> String {
    protected(cursor).or_else(|| array_literal(cursor)).unwrap_or_else(|| until_reserved(cursor))
}

fn until_reserved(cursor: &mut Cursor<'_>) -> String {
    cursor.take_while(|c, _| !matches!(c, ',' | ')')).to_owned()
}

/// A quoted value that `,` or `)` follows. Any other use of quotes is literal text.
fn protected(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut ahead = *cursor;
    let value = ahead.quoted()?;
    ahead.skip_spaces();
    matches!(ahead.peek(), None | Some(',' | ')')).then(|| {
        *cursor = ahead;
        value
    })
}

/// A PostgreSQL array literal, whose commas do not end it: `{a,b}`.
fn array_literal(cursor: &mut Cursor<'_>) -> Option<String> {
    let mut ahead = *cursor;
    if !ahead.eat("{") {
        return None;
    }
    let inner = ahead.take_while(|c, _| !matches!(c, '{' | '}'));
    let ended = ahead.eat("}") && matches!(ahead.peek(), None | Some(',' | ')'));
    ended.then(|| {
        *cursor = ahead;
        format!("{{{inner}}}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, place: Place) -> Result<Filter, Problem> {
        let mut cursor = Cursor::new("filter", text);
        let column = ColumnRef { name: "c".into(), path: Vec::new() };
        let filter = condition(&mut cursor, column, place, &mut Budget::default())?;
        cursor.expect_end()?;
        Ok(filter)
    }

    fn value_of(text: &str) -> String {
        match parse(text, Place::Parameter).expect("valid") {
            Filter::Compare { value, .. } => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_parameters_value_is_literal() {
        assert_eq!(value_of("eq."), "");
        assert_eq!(value_of("eq.a,b).(\"c\"%"), "a,b).(\"c\"%");
        assert_eq!(value_of("like.*x*"), "*x*");
    }

    #[test]
    fn lists_know_quotes() {
        let values = |text: &str| match parse(text, Place::Parameter).expect("valid") {
            Filter::In { values, .. } => values,
            other => panic!("{other:?}"),
        };
        assert_eq!(values("in.(1,2)"), ["1", "2"]);
        assert_eq!(values(r#"in.("a,b","c)d","e\"f\\g")"#), ["a,b", "c)d", "e\"f\\g"]);
        assert_eq!(values(r#"in.(a"b,c\d)"#), ["a\"b", "c\\d"]);
        assert_eq!(values("in.()"), Vec::<String>::new());
        assert_eq!(values("in.(\"\")"), [""]);
        assert_eq!(values("in.(a,)"), ["a", ""]);
    }

    #[test]
    fn unknown_and_unoffered_operators_are_told_apart() {
        let unknown = parse("foo.1", Place::Parameter).expect_err("unknown");
        assert!(unknown.details.expect("details").contains("expecting \"not\" or operator"));
        let fts = parse("fts(english).x", Place::Parameter).expect_err("not offered");
        assert!(fts.message.contains("The operator fts is not supported"));
        assert!(parse("eq(any).{1}", Place::Parameter).expect_err("modifier").message.contains("modifier"));
    }

    #[test]
    fn is_takes_any_case_and_nothing_else() {
        assert!(parse("is.NULL", Place::Parameter).is_ok());
        assert!(parse("not.is.Not_Null", Place::Parameter).is_ok());
        for bad in ["is.nil", "is.", "is.null ", "is.nullx"] {
            assert!(parse(bad, Place::Parameter).is_err(), "{bad}");
        }
    }

    #[test]
    fn too_many_values_are_refused() {
        let list = |n: usize| format!("in.({})", vec!["1"; n].join(","));
        assert!(parse(&list(MAX_IN_VALUES), Place::Parameter).is_ok());
        assert_eq!(parse(&list(MAX_IN_VALUES + 1), Place::Parameter).expect_err("over").code, "TG008");
    }
}
