//! The `Prefer` field and its echo, `Preference-Applied`.

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_types::{
    collection::Mode,
    problem::Problem,
    query::Count,
    request::{Missing, Resolution, ReturnPreference},
};

use super::problems::{bad_request, clip};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Whether preferences that cannot be honoured are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handling {
    /// They are.
    Strict,
    /// They are ignored.
    Lenient,
}

/// The preferences of a request; the first of a kind counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Preferences {
    pub(crate) resolution: Option<Resolution>,
    pub(crate) missing: Option<Missing>,
    pub(crate) returning: Option<ReturnPreference>,
    pub(crate) count: Option<Count>,
    pub(crate) handling: Option<Handling>,
    /// Seconds (RFC 7240, 4.3).
    pub(crate) wait: Option<u32>,
    pub(crate) respond_async: Option<RespondAsync>,
}

/// `Prefer: respond-async`, which an acknowledged write does anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RespondAsync;

/// Reads every `Prefer` field.
///
/// # Errors
/// With `handling=strict`, preferences that are not honoured: `PGRST122`.
pub(crate) fn preferences(headers: &HeaderMap) -> Result<Preferences, Problem> {
    let mut preferences = Preferences::default();
    let mut unknown: Vec<&str> = Vec::new();
    for value in headers.get_all(PREFER) {
        let Ok(value) = value.to_str() else { continue };
        for preference in value.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            if !preferences.take(preference) {
                unknown.push(preference);
            }
        }
    }
    if preferences.handling == Some(Handling::Strict) && !unknown.is_empty() {
        return Err(bad_request("PGRST122", "Invalid preferences given with handling=strict")
            .details(format!("Invalid preferences: {}", clip(&unknown.join(", ")))));
    }
    Ok(preferences)
}

impl Preferences {
    /// Whether the preference is one that is honoured.
    fn take(&mut self, preference: &str) -> bool {
        match preference {
            "resolution=merge-duplicates" => first(&mut self.resolution, Resolution::MergeDuplicates),
            "resolution=ignore-duplicates" => first(&mut self.resolution, Resolution::IgnoreDuplicates),
            "missing=default" => first(&mut self.missing, Missing::Default),
            "missing=null" => first(&mut self.missing, Missing::Null),
            "return=representation" => first(&mut self.returning, ReturnPreference::Representation),
            "return=minimal" => first(&mut self.returning, ReturnPreference::Minimal),
            "return=headers-only" => first(&mut self.returning, ReturnPreference::HeadersOnly),
            "count=exact" => first(&mut self.count, Count::Exact),
            "handling=strict" => first(&mut self.handling, Handling::Strict),
            "handling=lenient" => first(&mut self.handling, Handling::Lenient),
            "respond-async" => first(&mut self.respond_async, RespondAsync),
            _ => match preference.strip_prefix("wait=").and_then(|seconds| seconds.parse().ok()) {
                Some(seconds) => first(&mut self.wait, seconds),
                None => return false,
            },
        }
        true
    }

    /// The preferences that mean something to a keyed read.
    pub(crate) fn of_row(self) -> Self {
        Self { handling: self.handling, ..Self::default() }
    }

    /// The preferences that mean something to a list.
    pub(crate) fn of_read(self) -> Self {
        Self { count: self.count, handling: self.handling, ..Self::default() }
    }

    /// The preferences that mean something to an update, replacement or deletion.
    pub(crate) fn of_change(self) -> Self {
        Self { resolution: None, missing: None, ..self }
    }

    /// Without what means something only where a write is acknowledged before its shard has it.
    pub(crate) fn unless_behind(self, mode: Mode) -> Self {
        match mode {
            Mode::WriteBehind => self,
            Mode::CacheAside | Mode::WriteThrough | Mode::Bypass => Self { wait: None, respond_async: None, ..self },
        }
    }

    /// The `Preference-Applied` field, in PostgREST's order.
    pub(crate) fn applied(&self) -> Option<HeaderValue> {
        let parts = [
            self.resolution.and_then(|r| match r {
                Resolution::Fail => None,
                Resolution::MergeDuplicates => Some("resolution=merge-duplicates"),
                Resolution::IgnoreDuplicates => Some("resolution=ignore-duplicates"),
            }),
            self.missing.map(|m| match m {
                Missing::Null => "missing=null",
                Missing::Default => "missing=default",
            }),
            self.returning.map(|r| match r {
                ReturnPreference::Minimal => "return=minimal",
                ReturnPreference::HeadersOnly => "return=headers-only",
                ReturnPreference::Representation => "return=representation",
            }),
            self.count.and_then(|c| match c {
                Count::None => None,
                Count::Exact => Some("count=exact"),
            }),
            self.handling.map(|h| match h {
                Handling::Strict => "handling=strict",
                Handling::Lenient => "handling=lenient",
            }),
        ];
        let wait = self.wait.map(|seconds| format!("wait={seconds}"));
        let behind = [self.respond_async.map(|RespondAsync| "respond-async"), wait.as_deref()];
        let applied: Vec<&str> = parts.into_iter().chain(behind).flatten().collect();
        if applied.is_empty() { None } else { HeaderValue::from_str(&applied.join(", ")).ok() }
    }
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Result<Preferences, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, value.parse().expect("valid"));
        }
        preferences(&headers)
    }

    #[test]
    fn lists_and_repeated_fields_join_and_the_first_of_a_kind_counts() {
        let p =
            of(&["return=minimal, count=exact", "return=representation,,resolution=merge-duplicates"]).expect("valid");
        assert_eq!(p.returning, Some(ReturnPreference::Minimal));
        let applied = p.applied().expect("some");
        assert_eq!(applied, "resolution=merge-duplicates, return=minimal, count=exact");
        assert_eq!(p.of_read().applied().expect("some"), "count=exact");
    }

    #[test]
    fn waiting_means_something_to_write_behind_collections_only() {
        let p = of(&["respond-async, wait=10, wait=x"]).expect("valid");
        assert_eq!(p.wait, Some(10));
        assert_eq!(p.unless_behind(Mode::WriteBehind).applied().expect("some"), "respond-async, wait=10");
        assert_eq!(p.unless_behind(Mode::WriteThrough).applied(), None);
        assert_eq!(p.of_read().applied(), None);
    }

    #[test]
    fn unknown_ones_are_errors_only_when_strict() {
        assert_eq!(of(&["foo=bar, count=planned"]).expect("lenient"), Preferences::default());
        let problem = of(&["foo=bar, count=planned, handling=strict"]).expect_err("strict");
        assert_eq!(problem.code, "PGRST122");
        assert_eq!(problem.details.as_deref(), Some("Invalid preferences: foo=bar, count=planned"));
    }
}
