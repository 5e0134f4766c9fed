//! Conditions as PostgreSQL prints them.

use super::*;
use crate::values::number::Int;

/// `a int, b text, c date, s status`.
fn judge(condition: &str, row: [&str; 4]) -> Option<Truth> {
    let status = Kind::Enum("status".into(), vec!["on".into(), "off".into()]);
    let columns: [(&str, &Kind); 4] =
        [("a", &Kind::Int(Int::Four)), ("b", &Kind::Text(None)), ("c", &Kind::Date), ("s", &status)];
    let check = CatalogCheck { name: "c".into(), condition: condition.into() };
    Some(Check::understood(&check, &columns)?.judge(&row.map(Cow::Borrowed)))
}

const ROW: [&str; 4] = ["5", "\"abc\"", "\"2020-02-03\"", "\"on\""];
const NULLS: [&str; 4] = ["null"; 4];

#[test]
fn what_is_printed_for_usual_checks_is_understood() {
    for (condition, expected) in [
        ("(a > 4)", Truth::True),
        ("(a >= 6)", Truth::False),
        ("((a >= 1) AND (a <= 10))", Truth::True),
        ("((a >= 1) AND (a <= 4))", Truth::False),
        ("((a < 1) OR (a > 4))", Truth::True),
        ("(NOT (a = 5))", Truth::False),
        ("((a)::numeric > 4.9)", Truth::True),
        ("(a > '-1'::integer)", Truth::True),
        ("(a > (-1))", Truth::True),
        ("(a = ANY (ARRAY[1, 2, 5]))", Truth::True),
        ("(a <> ALL (ARRAY[1, 2, 5]))", Truth::False),
        ("(b = ANY (ARRAY['x'::text, 'abc'::text]))", Truth::True),
        ("((b)::text = ANY ((ARRAY['x'::character varying, 'y'::character varying])::text[]))", Truth::False),
        ("(b <> ''::text)", Truth::True),
        ("(length(b) < 3)", Truth::False),
        ("(char_length(b) = 3)", Truth::True),
        ("(b IS NOT NULL)", Truth::True),
        ("(b IS NULL)", Truth::False),
        ("(c > '2020-01-01'::date)", Truth::True),
        ("(s = 'off'::status)", Truth::False),
    ] {
        assert_eq!(judge(condition, ROW), Some(expected), "{condition}");
    }
}

#[test]
fn null_lets_a_check_pass_but_is_null() {
    for condition in ["(a > 4)", "(NOT (a = 5))", "((a > 4) AND (b = 'x'::text))", "(length(b) < 3)"] {
        assert_eq!(judge(condition, NULLS), Some(Truth::Unknown), "{condition}");
    }
    assert_eq!(judge("(b IS NOT NULL)", NULLS), Some(Truth::False));
    assert_eq!(judge("((a > 4) OR (b IS NULL))", NULLS), Some(Truth::True));
    assert_eq!(judge("((a > 4) AND (b IS NOT NULL))", NULLS), Some(Truth::False));
}

#[test]
fn what_is_not_certain_is_left_to_the_shard() {
    for condition in [
        "(b ~~ 'a%'::text)",
        "(b ~ '^a'::text)",
        "(a > f(b))",
        "((a)::smallint > 4)",
        "((b)::integer > 4)",
        "(a > 4) AND",
        "(b = E'\\n'::text)",
        "((a + 1) > 4)",
        "(a > 4.5e3)",
        "(unknown > 4)",
        "(c > CURRENT_DATE)",
        "(a = b)",
        "(lower(b) = 'abc'::text)",
    ] {
        assert_eq!(judge(condition, ROW), None, "{condition}");
    }
    assert_eq!(judge("(b > 'a'::text)", ROW), Some(Truth::Unknown), "by collation");
}
