//! Conditions. Values are untyped parameters, so the column's type decides what they mean and
//! PostgreSQL reports what does not fit.

use tidegate_types::{
    problem::Problem,
    query::{Filter, IsValue, Operator, Sense},
};

use super::Sql;

const fn operator_text(operator: Operator) -> &'static str {
    match operator {
        Operator::Eq => " = ",
        Operator::Neq => " <> ",
        Operator::Gt => " > ",
        Operator::Gte => " >= ",
        Operator::Lt => " < ",
        Operator::Lte => " <= ",
        Operator::Like => " LIKE ",
        Operator::Ilike => " ILIKE ",
    }
}

const fn is_text(value: IsValue) -> &'static str {
    match value {
        IsValue::Null => " IS NULL",
        IsValue::NotNull => " IS NOT NULL",
        IsValue::True => " IS TRUE",
        IsValue::False => " IS FALSE",
        IsValue::Unknown => " IS UNKNOWN",
    }
}

impl Sql<'_> {
    /// Appends ` WHERE ...`, or nothing without filters.
    pub(crate) fn filters(&mut self, filters: &[Filter]) -> Result<&mut Self, Problem> {
        if !filters.is_empty() {
            self.push(" WHERE ");
            self.terms(filters, " AND ")?;
        }
        Ok(self)
    }

    fn terms(&mut self, terms: &[Filter], separator: &str) -> Result<(), Problem> {
        for (i, term) in terms.iter().enumerate() {
            if i > 0 {
                self.push(separator);
            }
            self.filter(term)?;
        }
        Ok(())
    }

    /// Depth is bounded by the parser ([`tidegate_types::query::limits::MAX_DEPTH`]).
    fn filter(&mut self, filter: &Filter) -> Result<(), Problem> {
        let (Filter::Compare { sense, .. }
        | Filter::In { sense, .. }
        | Filter::Is { sense, .. }
        | Filter::And { sense, .. }
        | Filter::Or { sense, .. }) = filter;
        self.push(match sense {
            Sense::Plain => "(",
            Sense::Negated => "NOT (",
        });
        match filter {
            Filter::Compare { column, operator, value, .. } => {
                let value = match operator {
                    Operator::Like | Operator::Ilike => value.replace('*', "%"),
                    _ => value.clone(),
                };
                self.column_ref(column)?.push(operator_text(*operator)).bind(value);
            }
            Filter::In { column, values, .. } => {
                self.column_ref(column)?.push(" = ANY(").bind(array_literal(values)).push(")");
            }
            Filter::Is { column, value, .. } => {
                self.column_ref(column)?.push(is_text(*value));
            }
            // An empty `and` holds, an empty `or` does not; the parser lets neither through.
            Filter::And { terms, .. } if terms.is_empty() => {
                self.push("true");
            }
            Filter::Or { terms, .. } if terms.is_empty() => {
                self.push("false");
            }
            Filter::And { terms, .. } => self.terms(terms, " AND ")?,
            Filter::Or { terms, .. } => self.terms(terms, " OR ")?,
        }
        self.push(")");
        Ok(())
    }
}

/// PostgreSQL's text form of an array: every element quoted, so that none reads as NULL or as structure.
/// `{}` for an empty list: `= ANY('{}')` holds for no row, NULL included, and its negation for every row.
fn array_literal(values: &[String]) -> String {
    let mut literal = String::with_capacity(2 + values.iter().map(|v| v.len() + 3).sum::<usize>());
    literal.push('{');
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            literal.push(',');
        }
        literal.push('"');
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(c);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn array_elements_cannot_leave_their_quotes() {
        let literal = |values: &[&str]| array_literal(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        assert_eq!(literal(&[]), "{}");
        assert_eq!(literal(&["1", "null", ""]), r#"{"1","null",""}"#);
        assert_eq!(literal(&[r#"a","b"#, r"c\"]), r#"{"a\",\"b","c\\"}"#);
    }
}
