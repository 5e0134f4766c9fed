//! Images: rows as they are after a write.

use std::borrow::Cow;

use bytes::Bytes;
use indexmap::IndexMap;
use serde_json::value::RawValue;
use tidegate_types::{
    key::{KeyValue, RowKey},
    mutation::Image,
    problem::{Problem, ProblemKind, codes},
};

use super::{
    check::Truth,
    default::Default,
    json::quoted,
    kind::Kind,
    plan::{ImagePlan, Nullable, Planned},
    sent::{Given, Sent},
};

impl ImagePlan {
    /// The row after a PUT: what was not sent has its default.
    ///
    /// # Errors
    /// What PostgreSQL would say, or that a value has a form of which that is not certain.
    pub fn put(&self, key: &RowKey, sent: &Sent<'_>) -> Result<Image, Problem> {
        let row = self.new_row(key, sent)?;
        let all = (0..self.columns.len()).filter(|position| !self.is_key(*position)).collect::<Vec<_>>();
        self.image(&row, &all)
    }

    /// The row after a POST of a row that there is not: what was not sent has its default.
    ///
    /// # Errors
    /// As for [`ImagePlan::put`].
    pub fn insert(&self, key: &RowKey, sent: &Sent<'_>) -> Result<Image, Problem> {
        let row = self.new_row(key, sent)?;
        self.image(&row, &self.sent(sent))
    }

    /// The row after a PATCH of one that is `current`, a JSON object of every column as PostgreSQL rendered it.
    ///
    /// # Errors
    /// As for [`ImagePlan::put`]; 400 for a body that would change the key; 500 if `current` is not such an object.
    pub fn patch(&self, current: &[u8], sent: &Sent<'_>) -> Result<Image, Problem> {
        let current: IndexMap<String, &RawValue> = serde_json::from_slice(current).map_err(|_| not_a_row())?;
        let mut row: Vec<Cow<'_, str>> = Vec::with_capacity(self.columns.len());
        for (position, column) in self.columns.iter().enumerate() {
            let before = current.get(&column.name).ok_or_else(not_a_row)?.get();
            row.push(match self.rendered(column, sent)? {
                Some(value) if self.is_key(position) && value != before => return Err(self.key_change()),
                Some(value) => Cow::Owned(value),
                None => Cow::Borrowed(before),
            });
        }
        self.image(&row, &self.sent(sent))
    }

    fn new_row(&self, key: &RowKey, sent: &Sent<'_>) -> Result<Vec<Cow<'_, str>>, Problem> {
        let mut row = Vec::with_capacity(self.columns.len());
        for (position, column) in self.columns.iter().enumerate() {
            let of_key = self.key.iter().zip(key.values()).find(|(k, _)| k.column == position);
            row.push(match of_key {
                Some((_, value)) => Cow::Owned(key_value(column, value)?),
                None => match self.rendered(column, sent)? {
                    Some(value) => Cow::Owned(value),
                    None => self.default(column)?,
                },
            });
        }
        Ok(row)
    }

    /// A column's value as sent; `None` if nothing was.
    fn rendered(&self, column: &Planned, sent: &Sent<'_>) -> Result<Option<String>, Problem> {
        match sent.given(&column.name) {
            Given::Nothing => Ok(None),
            Given::Null => self.null(column).map(Some),
            Given::Value(raw) => column.kind.render(raw).map(Some).map_err(|wrong| wrong.of_column(&column.name)),
        }
    }

    fn null(&self, column: &Planned) -> Result<String, Problem> {
        match column.nullable {
            Nullable::Yes => Ok("null".to_owned()),
            Nullable::No => Err(Problem::new(
                ProblemKind::BadRequest,
                "23502",
                format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    column.name, self.table
                ),
            )),
        }
    }

    fn default<'a>(&'a self, column: &'a Planned) -> Result<Cow<'a, str>, Problem> {
        match &column.default {
            Default::Null => self.null(column).map(Cow::Owned),
            Default::Constant(rendered) => Ok(Cow::Borrowed(rendered)),
            Default::Computed => Err(Problem::new(
                ProblemKind::BadRequest,
                codes::VALUE_FORM,
                format!("The value of column \"{}\" would be computed by the database, after the answer", column.name),
            )
            .details("Nothing was written.")
            .hint(format!("Send a value for {}.", column.name))),
        }
    }

    /// Positions of the columns that were sent, without the key's.
    fn sent(&self, sent: &Sent<'_>) -> Vec<usize> {
        let is_sent = |column: &Planned| !matches!(sent.given(&column.name), Given::Nothing);
        let columns = self.columns.iter().enumerate();
        columns.filter(|(position, column)| !self.is_key(*position) && is_sent(column)).map(|(at, _)| at).collect()
    }

    fn is_key(&self, position: usize) -> bool {
        self.key.iter().any(|k| k.column == position)
    }

    /// The row as one object, if no CHECK forbids it.
    fn image(&self, row: &[Cow<'_, str>], set: &[usize]) -> Result<Image, Problem> {
        for check in &self.checks {
            if check.judge(row) == Truth::False {
                return Err(Problem::new(
                    ProblemKind::BadRequest,
                    "23514",
                    format!("new row for relation \"{}\" violates check constraint \"{}\"", self.table, check.name),
                ));
            }
        }
        let length: usize =
            self.columns.iter().zip(row).map(|(column, value)| column.member.len() + value.len() + 1).sum();
        let mut json = String::with_capacity(length + 2);
        json.push('{');
        for (i, (column, value)) in self.columns.iter().zip(row).enumerate() {
            if i > 0 {
                json.push(',');
            }
            json.push_str(&column.member);
            json.push_str(value);
        }
        json.push('}');
        let set = set.iter().map(|position| self.columns[*position].name.as_str().into()).collect();
        Ok(Image::Row { json: Bytes::from(json), set })
    }

    fn key_change(&self) -> Problem {
        let key: Vec<&str> = self.key.iter().map(|k| self.columns[k.column].name.as_str()).collect();
        Problem::new(ProblemKind::BadRequest, codes::KEY_CHANGE, "The primary key of a row cannot be changed")
            .details(format!("The key of {} is ({}). Nothing was written.", self.table, key.join(", ")))
            .hint("Insert a new row and delete the old one.")
    }
}

/// A key's value is the row's: one that its column would cut to size is not.
fn key_value(column: &Planned, value: &KeyValue) -> Result<String, Problem> {
    let rendered = match value {
        KeyValue::Int(number) => number.to_string(),
        KeyValue::Bool(value) => value.to_string(),
        KeyValue::Uuid(uuid) => quoted(&uuid.to_string()),
        KeyValue::Text(text) => {
            let rendered = column.kind.render_text(text).map_err(|wrong| wrong.of_column(&column.name))?;
            if rendered != quoted(text) {
                let Kind::Text(Some(max)) = column.kind else { return Err(not_a_row()) };
                return Err(Problem::new(
                    ProblemKind::BadRequest,
                    "22001",
                    format!("value too long for type character varying({max})"),
                ));
            }
            rendered
        }
    };
    Ok(rendered)
}

fn not_a_row() -> Problem {
    Problem::new(ProblemKind::Internal, "XX000", "The gateway could not use the database's answer")
}
