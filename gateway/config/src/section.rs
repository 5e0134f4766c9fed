//! A table of the file while it is being read: remembers which keys it was asked for, so that
//! what is left over at the end is known to be unknown.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::report::Report;

/// What reading one value gives: the value, or what is wrong with it.
pub(crate) type Reading<T> = Result<T, String>;

/// A table being read, given or not.
pub(crate) struct Section<'a> {
    /// Dotted, empty for the root.
    path: String,
    /// Where missing keys are reported.
    offset: usize,
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
    /// Keys that were reported already.
    handled: Vec<&'static str>,
}

/// A named sub-table (`[shards.NAME]`).
pub(crate) struct Named<'a> {
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) section: Section<'a>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(table: &'a DeTable<'a>) -> Self {
        Self { path: String::new(), offset: 0, table: Some(table), known: Vec::new(), handled: Vec::new() }
    }

    /// The dotted name of the section.
    pub(crate) fn path(&self) -> String {
        self.path.clone()
    }

    /// The dotted name of a key of this section.
    pub(crate) fn key_path(&self, key: &str) -> String {
        let quoted = quoted(key);
        if self.path.is_empty() { quoted } else { format!("{}.{quoted}", self.path) }
    }

    /// Reports something about the section itself.
    pub(crate) fn complain_of_all(&self, report: &mut Report<'_>, message: impl Into<String>) {
        report.add(self.offset, self.path(), message);
    }

    /// Reports something about a key, or about its absence.
    pub(crate) fn complain(&self, report: &mut Report<'_>, key: &str, message: impl Into<String>) {
        let offset = self.span_of(key).map_or(self.offset, |span| span.start);
        report.add(offset, self.key_path(key), message);
    }

    /// Whether the key was given.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Whether a table of this name was given.
    pub(crate) fn has_table(&self, key: &str) -> bool {
        self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().is_table())
    }

    /// Whether the table itself was given.
    pub(crate) fn is_given(&self) -> bool {
        self.table.is_some()
    }

    /// Reports keys that a later version will have, where they are given.
    pub(crate) fn later(&mut self, report: &mut Report<'_>, keys: &'static [&'static str]) {
        for key in keys {
            if let Some(span) = self.key_span(key) {
                report.add(span.start, self.key_path(key), "not supported by this version");
            }
            self.handled.push(key);
        }
    }

    /// Reports a key that another section has, where it is given.
    pub(crate) fn elsewhere(&mut self, report: &mut Report<'_>, key: &'static str, message: &str) {
        if let Some(span) = self.key_span(key) {
            report.add(span.start, self.key_path(key), message);
        }
        self.handled.push(key);
    }

    /// A value that may be absent.
    pub(crate) fn optional<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Reading<T>,
    ) -> Option<T> {
        self.known.push(key);
        let value = self.table?.get(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(message) => {
                report.add(value.span().start, self.key_path(key), message);
                None
            }
        }
    }

    /// A value with a default.
    pub(crate) fn or<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'a>) -> Reading<T>,
    ) -> T {
        self.optional(report, key, read).unwrap_or(default)
    }

    /// A value that must be there.
    pub(crate) fn required<T>(
        &mut self,
        report: &mut Report<'_>,
        key: &'static str,
        read: impl FnOnce(&DeValue<'a>) -> Reading<T>,
    ) -> Option<T> {
        if !self.has(key) {
            self.known.push(key);
            report.add(self.offset, self.key_path(key), "is required");
            return None;
        }
        self.optional(report, key, read)
    }

    /// A table with fixed keys; an absent one reads as empty.
    pub(crate) fn table(&mut self, report: &mut Report<'_>, key: &'static str) -> Section<'a> {
        self.known.push(key);
        let path = self.key_path(key);
        let given = self.table.and_then(|table| table.get_key_value(key));
        let Some((name, value)) = given else {
            return Section { path, offset: self.offset, table: None, known: Vec::new(), handled: Vec::new() };
        };
        Self::sub(report, path, name.span(), value)
    }

    /// The tables under a key whose names the user chose, in the order of the file.
    pub(crate) fn named(&mut self, report: &mut Report<'_>, key: &'static str) -> Vec<Named<'a>> {
        let parent = self.table(report, key);
        let Some(table) = parent.table else { return Vec::new() };
        let mut entries: Vec<_> = table.iter().collect();
        // The parser's map is sorted by name; the order of the file is the user's.
        entries.sort_by_key(|(name, _)| name.span().start);
        entries
            .into_iter()
            .map(|(name, value)| {
                let path = parent.key_path(name.get_ref());
                let section = Self::sub(report, path, name.span(), value);
                Named { name: name.get_ref().to_string(), offset: name.span().start, section }
            })
            .collect()
    }

    fn sub(report: &mut Report<'_>, path: String, name: Range<usize>, value: &'a Spanned<DeValue<'a>>) -> Self {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let message = format!("expected a table, found {}", found(value.get_ref()));
            report.add(value.span().start, path.clone(), message);
        }
        Section { path, offset: name.start, table, known: Vec::new(), handled: Vec::new() }
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self, report: &mut Report<'_>) {
        let Some(table) = self.table else { return };
        for (name, _) in table {
            let key: &str = name.get_ref();
            if self.known.contains(&key) || self.handled.contains(&key) {
                continue;
            }
            report.add(name.span().start, self.key_path(key), unknown(key, &self.known));
        }
    }

    fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table?.get_key_value(key).map(|(name, _)| name.span())
    }

    fn span_of(&self, key: &str) -> Option<Range<usize>> {
        let (name, value) = self.table?.get_key_value(key)?;
        // A table with a header begins before its name.
        Some(if value.get_ref().is_table() { name.span() } else { value.span() })
    }
}

/// A name as it stands in a dotted key.
pub(crate) fn quoted(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { format!("{name:?}") }
}

/// What is wrong with a name that must be one of some others; nothing if it is.
pub(crate) fn unknown_name<'c>(what: &str, name: &str, known: impl Iterator<Item = &'c str>) -> Option<String> {
    let all: Vec<&str> = known.collect();
    if all.contains(&name) {
        return None;
    }
    let advice = match nearest(name, all.iter().copied()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None if all.is_empty() => String::new(),
        None => format!("; there are: {}", list(all.iter().copied().take(20))),
    };
    Some(format!("there is no {what} `{}`{advice}", shortened(name)))
}

/// "unknown key", with the one that was probably meant.
fn unknown(key: &str, known: &[&'static str]) -> String {
    if known.is_empty() {
        return "unknown key; this table has none".to_owned();
    }
    match nearest(key, known.iter().copied()) {
        Some(meant) => format!("unknown key; did you mean `{meant}`?"),
        None => format!("unknown key; valid here: {}", list(known.iter().copied())),
    }
}

/// The candidate closest to a name, if one is close enough to have been meant.
pub(crate) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let name = name.to_lowercase();
    candidates
        .map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// Names for a message: `a`, `b` or `c`.
pub(crate) fn list<'c>(names: impl Iterator<Item = &'c str>) -> String {
    let quoted: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// What a value is, for "expected X, found Y".
pub(crate) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", shortened(text)),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the float {number}"),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The start of a long text.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(60).chain(['…']).collect() }
}
