//! Conditions as PostgreSQL prints them.

use super::{Class, Comparison, Condition, Operand};
use crate::values::kind::Kind;

/// Parentheses in one another.
const MAX_DEPTH: usize = 32;

/// The condition, if all of it is understood.
pub(super) fn condition(text: &str, columns: &[(&str, &Kind)]) -> Option<Condition> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, columns, depth: MAX_DEPTH };
    let condition = parser.any()?;
    parser.tokens.is_empty().then_some(condition)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// An unquoted word, or a quoted identifier.
    Word(String),
    Quoted(String),
    Number(String),
    Text(String),
    Symbol(&'static str),
}

const SYMBOLS: [&str; 14] = ["::", "<=", ">=", "<>", "(", ")", "[", "]", ",", "=", "<", ">", "-", "."];

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '\'' => delimited(rest, '\'').map(|(text, after)| (Token::Text(text), after))?,
            '"' => delimited(rest, '"').map(|(text, after)| (Token::Quoted(text), after))?,
            '0'..='9' => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                (Token::Number(rest[..end].to_owned()), &rest[end..])
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
                // E'...', U&'...': other rules for what is between the quotes.
                if rest[end..].starts_with(['\'', '&']) {
                    return None;
                }
                (Token::Word(rest[..end].to_owned()), &rest[end..])
            }
            _ => {
                let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol))?;
                (Token::Symbol(symbol), &rest[symbol.len()..])
            }
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Some(tokens)
}

/// What stands between the delimiters, doubled ones being one, and what comes after.
fn delimited(text: &str, delimiter: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text.strip_prefix(delimiter)?;
    loop {
        let (part, after) = rest.split_once(delimiter)?;
        value.push_str(part);
        match after.strip_prefix(delimiter) {
            Some(more) => {
                value.push(delimiter);
                rest = more;
            }
            None => return Some((value, after)),
        }
    }
}

struct Parser<'t, 'c> {
    tokens: &'t [Token],
    columns: &'c [(&'c str, &'c Kind)],
    depth: usize,
}

impl Parser<'_, '_> {
    fn symbol(&mut self, symbol: &str) -> bool {
        self.next_if(|token| matches!(token, Token::Symbol(found) if *found == symbol))
    }

    fn word(&mut self, word: &str) -> bool {
        self.next_if(|token| matches!(token, Token::Word(found) if found == word))
    }

    fn next_if(&mut self, is_it: impl FnOnce(&Token) -> bool) -> bool {
        match self.tokens.split_first() {
            Some((first, rest)) if is_it(first) => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }

    fn any(&mut self) -> Option<Condition> {
        let mut parts = vec![self.all()?];
        while self.word("OR") {
            parts.push(self.all()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Option<Condition> {
        let mut parts = vec![self.one()?];
        while self.word("AND") {
            parts.push(self.one()?);
        }
        Some(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    /// A comparison is tried first: a parenthesis may begin one, too.
    fn one(&mut self) -> Option<Condition> {
        self.depth = self.depth.checked_sub(1)?;
        let condition = if self.word("NOT") {
            self.one().map(|part| Condition::Not(Box::new(part)))
        } else {
            let before = self.tokens;
            self.comparison().or_else(|| {
                self.tokens = before;
                self.symbol("(").then(|| self.any()).flatten().filter(|_| self.symbol(")"))
            })
        };
        self.depth += 1;
        condition
    }

    fn comparison(&mut self) -> Option<Condition> {
        let left = self.operand()?;
        if self.word("IS") {
            let negated = self.word("NOT");
            let Operand::Column(column, _) = left else { return None };
            return self.word("NULL").then(|| match negated {
                true => Condition::Not(Box::new(Condition::Null(column))),
                false => Condition::Null(column),
            });
        }
        let comparison = self.comparator()?;
        if self.word("ANY") {
            let values = self.list()?;
            return Some(Condition::Any(compared(&left, comparison, values)?));
        }
        if self.word("ALL") {
            let values = self.list()?;
            return Some(Condition::All(compared(&left, comparison, values)?));
        }
        let right = self.operand()?;
        compatible(&left, &right).then_some(Condition::Compare(left, comparison, right))
    }

    fn comparator(&mut self) -> Option<Comparison> {
        let all = [
            ("=", Comparison::Equal),
            ("<>", Comparison::Different),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        all.into_iter().find(|(symbol, _)| self.symbol(symbol)).map(|(_, comparison)| comparison)
    }

    /// `(ARRAY['a'::text, 'b'::text])`, perhaps cast as a whole.
    fn list(&mut self) -> Option<Vec<Operand>> {
        let mut open = 0;
        while self.symbol("(") {
            open += 1;
        }
        if !(open > 0 && self.word("ARRAY") && self.symbol("[")) {
            return None;
        }
        let mut values = vec![self.operand()?];
        while self.symbol(",") {
            values.push(self.operand()?);
        }
        if !self.symbol("]") {
            return None;
        }
        self.text_cast()?;
        for _ in 0..open {
            if !self.symbol(")") {
                return None;
            }
            self.text_cast()?;
        }
        values.iter().all(|value| matches!(value, Operand::Literal(_))).then_some(values)
    }

    /// Takes a cast to `text[]` off the front, if there is one.
    fn text_cast(&mut self) -> Option<()> {
        if self.symbol("::") && !(self.word("text") && self.symbol("[") && self.symbol("]")) {
            return None;
        }
        Some(())
    }

    fn operand(&mut self) -> Option<Operand> {
        self.depth = self.depth.checked_sub(1)?;
        let operand = self.bare_operand().and_then(|operand| self.casts(operand));
        self.depth += 1;
        operand
    }

    fn bare_operand(&mut self) -> Option<Operand> {
        if self.symbol("(") {
            let inside = self.operand()?;
            return self.symbol(")").then_some(inside);
        }
        let negative = self.symbol("-");
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        match first {
            Token::Number(number) => Some(Operand::Literal(format!("{}{number}", if negative { "-" } else { "" }))),
            _ if negative => None,
            Token::Text(text) => Some(Operand::Literal(text.clone())),
            Token::Word(word) if matches!(rest.first(), Some(Token::Symbol("("))) => self.length(word),
            Token::Word(name) | Token::Quoted(name) => {
                let position = self.columns.iter().position(|(column, _)| column == name)?;
                Some(Operand::Column(position, Class::of(self.columns[position].1)?))
            }
            Token::Symbol(_) => None,
        }
    }

    fn length(&mut self, function: &str) -> Option<Operand> {
        if !matches!(function, "length" | "char_length" | "character_length") || !self.symbol("(") {
            return None;
        }
        let Operand::Column(column, Class::Text) = self.operand()? else { return None };
        let is_text = matches!(self.columns[column].1, Kind::Text(_));
        (is_text && self.symbol(")")).then_some(Operand::Length(column))
    }

    /// Casts that change no value: of literals, and of columns to what their class is.
    fn casts(&mut self, operand: Operand) -> Option<Operand> {
        while self.symbol("::") {
            let name = self.type_name()?;
            let harmless = match &operand {
                Operand::Literal(_) => {
                    matches!(
                        name.as_str(),
                        "smallint" | "integer" | "bigint" | "numeric" | "text" | "character varying" | "date"
                    ) || self.columns.iter().any(|(_, kind)| matches!(kind, Kind::Enum(of, _) if *of == name))
                }
                Operand::Column(column, Class::Text) => {
                    name == "text" && matches!(self.columns[*column].1, Kind::Text(_))
                }
                Operand::Column(_, Class::Number) => name == "numeric",
                Operand::Length(_) => name == "numeric" || name == "bigint",
                Operand::Column(_, Class::Date) => false,
            };
            if !harmless {
                return None;
            }
        }
        Some(operand)
    }

    fn type_name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            match self.tokens.split_first() {
                Some((Token::Word(word), rest)) if !matches!(word.as_str(), "AND" | "OR" | "IS" | "NOT") => {
                    if !name.is_empty() && !name.ends_with('.') {
                        name.push(' ');
                    }
                    name.push_str(word);
                    self.tokens = rest;
                }
                Some((Token::Quoted(part), rest)) => {
                    name.push_str(&format!("\"{part}\""));
                    self.tokens = rest;
                }
                Some((Token::Symbol("."), rest)) => {
                    name.push('.');
                    self.tokens = rest;
                }
                _ => return (!name.is_empty()).then_some(name),
            }
        }
    }
}

fn compared(left: &Operand, comparison: Comparison, values: Vec<Operand>) -> Option<Vec<Condition>> {
    let parts = values
        .into_iter()
        .map(|value| compatible(left, &value).then(|| Condition::Compare(left.clone(), comparison, value)));
    parts.collect()
}

/// Whether both are of one class, a literal being of any.
fn compatible(left: &Operand, right: &Operand) -> bool {
    let class = |operand: &Operand| match operand {
        Operand::Column(_, class) => Some(*class),
        Operand::Length(_) => Some(Class::Number),
        Operand::Literal(_) => None,
    };
    match (class(left), class(right)) {
        (Some(left), Some(right)) => left == right,
        (None, None) => false,
        _ => true,
    }
}
