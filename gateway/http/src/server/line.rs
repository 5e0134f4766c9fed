//! Request lines with characters that must be escaped and usually are not.
//!
//! `curl 'http://host/v1/products?meta->>color=eq.red'` sends `>` as it is, and so do PostgREST's own
//! examples; the URI type beneath hyper refuses `"`, `<` and `>`, and hyper then closes the connection
//! with an empty 400. So these three are escaped on the way in, in request lines of HTTP/1 only.
//!
//! A wrong guess of where a request begins would change a body, so none is made: a line is looked at
//! only where everything read before was heads, read to their end.

/// Where in the stream of an HTTP/1 connection the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the first byte of a request line.
    LineStart,
    /// Within a request line.
    Line,
    /// In header fields or a body.
    Elsewhere,
}

/// Whether the connection stands between two requests as far as its answers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Between {
    /// Every request so far was answered, and the last had no body.
    Requests,
    /// A request is being read or answered, or a body may not be read to its end.
    Unknown,
}

/// Follows a connection from request line to request line.
#[derive(Debug)]
pub(super) struct Lines {
    place: Place,
    ended: bool,
}

impl Lines {
    /// A connection's beginning.
    pub(super) fn new() -> Self {
        Self { place: Place::LineStart, ended: false }
    }

    /// Looks at bytes that came. Gives their replacement where a request line needed one.
    pub(super) fn came(&mut self, fresh: &[u8], between: Between) -> Option<Vec<u8>> {
        if self.ended && between == Between::Requests {
            self.place = Place::LineStart;
        }
        self.ended = fresh.ends_with(b"\r\n\r\n");
        if self.place == Place::Elsewhere {
            return None;
        }
        let end = fresh.iter().position(|b| *b == b'\n');
        self.place = if end.is_some() { Place::Elsewhere } else { Place::Line };
        let (line, rest) = fresh.split_at(end.unwrap_or(fresh.len()));
        if line.iter().any(|b| escaped(*b).is_some()) { Some(escape(line, rest)) } else { None }
    }
}

fn escaped(byte: u8) -> Option<&'static [u8; 3]> {
    match byte {
        b'"' => Some(b"%22"),
        b'<' => Some(b"%3C"),
        b'>' => Some(b"%3E"),
        _ => None,
    }
}

#[cold]
fn escape(line: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + rest.len() + 16);
    for byte in line {
        match escaped(*byte) {
            Some(escape) => out.extend_from_slice(escape),
            None => out.push(*byte),
        }
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::{Between::*, *};

    fn came(lines: &mut Lines, fresh: &str, between: Between) -> String {
        match lines.came(fresh.as_bytes(), between) {
            Some(replaced) => String::from_utf8(replaced).expect("ascii"),
            None => fresh.to_owned(),
        }
    }

    #[test]
    fn only_the_request_line_is_escaped() {
        let mut lines = Lines::new();
        assert_eq!(
            came(&mut lines, "GET /a?b->>c=eq.\"<\" HTTP/1.1\r\nif-match: \"x\"\r\n\r\n", Unknown),
            "GET /a?b-%3E%3Ec=eq.%22%3C%22 HTTP/1.1\r\nif-match: \"x\"\r\n\r\n"
        );
        assert_eq!(came(&mut lines, "GET /\"", Requests), "GET /%22");
        assert_eq!(came(&mut lines, "b> HTTP/1.1\r", Unknown), "b%3E HTTP/1.1\r");
        assert_eq!(came(&mut lines, "\nx: >\r\n", Unknown), "\nx: >\r\n");
        assert_eq!(came(&mut lines, "y: >\r\n\r\n", Unknown), "y: >\r\n\r\n");
        assert_eq!(came(&mut lines, "GET />", Requests), "GET /%3E");
    }

    #[test]
    fn what_may_be_a_body_or_the_middle_of_a_head_is_left_alone() {
        for (before, between) in [
            ("POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n", Unknown),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nif-match: ", Requests),
            ("GET / HTTP/1.1\r\n\r\nGET /", Requests),
        ] {
            let mut lines = Lines::new();
            came(&mut lines, before, Unknown);
            assert_eq!(came(&mut lines, "\">\"", between), "\">\"", "{before}");
        }
    }
}
