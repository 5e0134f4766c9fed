//! Which rows of a list: `limit`, `offset` and the `Range` field.

use http::{HeaderMap, Method, header::RANGE};
use tidegate_types::problem::{Problem, ProblemKind};

use super::problems::over_limit;

/// `limit` and `offset` as given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Window {
    limit: Option<i128>,
    offset: Option<i128>,
}

/// The rows to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    /// Rows skipped.
    pub(crate) offset: u64,
    /// Rows wanted, before the collection's `max_rows`.
    pub(crate) limit: Option<u64>,
}

impl Window {
    /// `limit=`: the last one counts, text that is no number is ignored.
    pub(crate) fn limit(&mut self, value: &str) {
        self.limit = number(value).or(self.limit);
    }

    /// `offset=`: as [`Window::limit`].
    pub(crate) fn offset(&mut self, value: &str) {
        self.offset = number(value).or(self.offset);
    }

    /// Whether either was given: a PUT takes neither.
    pub(crate) fn is_given(&self) -> bool {
        self.limit.is_some() || self.offset.is_some()
    }

    /// Intersects with the `Range` field of a GET.
    ///
    /// # Errors
    /// A negative limit, a range that ends before it starts, an empty intersection: 416.
    pub(crate) fn page(&self, method: &Method, headers: &HeaderMap) -> Result<Page, Problem> {
        if self.limit.is_some_and(|limit| limit < 0) {
            return Err(unsatisfiable("Limit should be greater than or equal to zero."));
        }
        let mut first = self.offset.unwrap_or(0).max(0);
        let mut end = self.limit.map(|limit| first + limit);
        let range =
            if method == Method::GET { headers.get(RANGE).and_then(|value| range(value.as_bytes())) } else { None };
        if let Some((from, to)) = range {
            if to.is_some_and(|to| to < from) {
                return Err(unsatisfiable(
                    "The lower boundary must be lower than or equal to the upper boundary in the Range header.",
                ));
            }
            let empty_by_wish = self.limit == Some(0);
            first = first.max(from);
            end = match (end, to.map(|to| to + 1)) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if end.is_some_and(|end| end <= first) && !empty_by_wish {
                return Err(unsatisfiable("The Range header and limit/offset have no row in common."));
            }
        }
        let limit = end.map(|end| u64::try_from((end - first).max(0)).unwrap_or(u64::MAX));
        // PostgreSQL's OFFSET is a bigint.
        let offset = i64::try_from(first).ok().and_then(|first| u64::try_from(first).ok());
        Ok(Page { offset: offset.ok_or_else(|| over_limit("rows to skip", usize::MAX >> 1))?, limit })
    }
}

fn unsatisfiable(details: &str) -> Problem {
    Problem::new(ProblemKind::RangeNotSatisfiable, "PGRST103", "Requested range not satisfiable").details(details)
}

/// A number of any size, held to what an `i128` sum can take.
fn number(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let most = i128::from(u64::MAX);
    let magnitude = digits.parse::<i128>().unwrap_or(most).min(most);
    Some(if text.len() == digits.len() { magnitude } else { -magnitude })
}

/// `a-b` or `a-`; other forms (`bytes=0-1`, `-5`) are not ours and ignored.
fn range(value: &[u8]) -> Option<(i128, Option<i128>)> {
    let (from, to) = std::str::from_utf8(value).ok()?.trim().split_once('-')?;
    if from.starts_with('-') || to.starts_with('-') {
        return None;
    }
    let from = number(from)?;
    if to.is_empty() { Some((from, None)) } else { Some((from, Some(number(to)?))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: &str, offset: &str, range: Option<&str>) -> Result<(u64, Option<u64>), Option<String>> {
        let mut window = Window::default();
        window.limit(limit);
        window.offset(offset);
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            headers.insert(RANGE, range.parse().expect("valid"));
        }
        window.page(&Method::GET, &headers).map(|p| (p.offset, p.limit)).map_err(|p| p.details)
    }

    #[test]
    fn limit_offset_and_range_intersect() {
        assert_eq!(page("", "", None), Ok((0, None)));
        assert_eq!(page("5", "2", None), Ok((2, Some(5))));
        assert_eq!(page("x", "-3", None), Ok((0, None)));
        assert_eq!(page("", "", Some("0-4")), Ok((0, Some(5))));
        assert_eq!(page("", "", Some("3-")), Ok((3, None)));
        assert_eq!(page("10", "2", Some("0-4")), Ok((2, Some(3))));
        assert_eq!(page("2", "", Some("0-4")), Ok((0, Some(2))));
        assert_eq!(page("0", "", Some("0-4")), Ok((0, Some(0))));
        assert_eq!(page("99999999999999999999999999999999999999999", "", None), Ok((0, Some(u64::MAX))));
    }

    #[test]
    fn forms_of_others_are_ignored() {
        for other in ["bytes=0-4", "items=0-4", "-5", "a-b", "1-2-3", "", "0--1"] {
            assert_eq!(page("", "", Some(other)), Ok((0, None)), "{other}");
        }
    }

    #[test]
    fn impossible_ranges() {
        assert!(page("-1", "", None).is_err());
        assert!(page("", "", Some("9-5")).is_err());
        assert!(page("", "10", Some("0-4")).is_err());
        assert!(page("", "9223372036854775808", None).is_err());
    }

    #[test]
    fn the_last_number_counts() {
        let mut window = Window::default();
        for value in ["3", "7", "x"] {
            window.limit(value);
        }
        assert_eq!(window.limit, Some(7));
    }

    #[test]
    fn only_get_has_ranges() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, "9-5".parse().expect("valid"));
        assert!(Window::default().page(&Method::HEAD, &headers).is_ok());
    }
}
