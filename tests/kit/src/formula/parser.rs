//! Reads a formula from a text.

use super::Node;

/// A recursive-descent parser; `rest` is what it has not read yet.
pub struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    pub fn new(text: &'a str) -> Self {
        Parser { rest: text }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Consumes a symbol, or a word that ends there.
    fn take(&mut self, token: &str) -> Option<()> {
        let rest = self.rest.trim_start().strip_prefix(token)?;
        let word = token.ends_with(char::is_alphabetic);
        if word && rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return None;
        }
        self.rest = rest;
        Some(())
    }

    fn take_any(&mut self, tokens: &[&'static str]) -> Option<&'static str> {
        let taken = tokens.iter().find(|token| self.take(token).is_some());
        taken.copied()
    }

    fn taken_while(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest;
        let end = rest.find(|c| !of(c)).unwrap_or(rest.len());
        self.rest = &rest[end..];
        &rest[..end]
    }

    pub fn expression(&mut self) -> Option<Node> {
        let value = self.sum()?;
        if self.take("where").is_none() {
            return Some(value);
        }
        let condition = self.condition()?;
        self.take(",");
        self.take("else")?;
        Node::call("where", vec![value, condition, self.expression()?])
    }

    fn condition(&mut self) -> Option<Node> {
        let mut left = self.sum()?;
        if self.take("is").is_some() {
            self.take("even")?;
            return Node::call("even", vec![left]);
        }
        let mut all = None;
        while let Some(sign) = self.take_any(&["<=", ">=", "<", ">"]) {
            let right = self.sum()?;
            let one = Node::call(sign, vec![left, right.clone()])?;
            all = Some(match all {
                Some(before) => Node::call("and", vec![before, one])?,
                None => one,
            });
            left = right;
        }
        all
    }

    fn sum(&mut self) -> Option<Node> {
        let mut left = self.product()?;
        while let Some(sign) = self.take_any(&["+", "-"]) {
            left = Node::call(sign, vec![left, self.product()?])?;
        }
        Some(left)
    }

    fn product(&mut self) -> Option<Node> {
        let mut left = self.factor()?;
        while let Some(sign) = self.take_any(&["*", "/", "mod"]) {
            left = Node::call(sign, vec![left, self.factor()?])?;
        }
        Some(left)
    }

    fn factor(&mut self) -> Option<Node> {
        if self.take("-").is_some() {
            return Node::call("sign", vec![self.factor()?]);
        }
        let base = self.atom()?;
        match self.take("^") {
            Some(()) => Node::call("^", vec![base, self.factor()?]),
            None => Some(base),
        }
    }

    fn atom(&mut self) -> Option<Node> {
        if self.take("(").is_some() {
            let inner = self.expression()?;
            return self.take(")").map(|()| inner);
        }
        self.rest = self.rest.trim_start();
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.number().map(Node::Number);
        }
        if self.take("sum over").is_some() {
            return self.sum_over();
        }
        let name = self.name()?;
        if !self.rest.starts_with('(') {
            return Some(Node::Name(name.to_owned()));
        }
        self.take("(")?;
        let mut args = vec![self.expression()?];
        while self.take(",").is_some() {
            args.push(self.expression()?);
        }
        self.take(")")?;
        if name == "r" {
            args.push(Node::Name("seed".to_owned()));
        }
        Node::call(name, args)
    }

    fn sum_over(&mut self) -> Option<Node> {
        self.rest = self.rest.trim_start();
        let name = self.name()?;
        self.take("<")?;
        self.rest = self.rest.trim_start();
        let n = self.number()?;
        self.take("of")?;
        let term = self.product()?;
        let terms = (0..n as u32).map(|i| term.replaced(name, &Node::Number(i.into())));
        let mut terms = terms.collect::<Vec<_>>().into_iter();
        let first = terms.next()?;
        terms.try_fold(first, |sum, term| Node::call("+", vec![sum, term]))
    }

    fn name(&mut self) -> Option<&'a str> {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !self.rest.starts_with(letter) {
            return None;
        }
        Some(self.taken_while(|c| letter(c) || c.is_ascii_digit()))
    }

    /// Digits, optionally with a fraction and an exponent. A dot without digits after it ends a sentence.
    fn number(&mut self) -> Option<f64> {
        let (start, digit) = (self.rest, |c: char| c.is_ascii_digit());
        self.taken_while(digit);
        let mut part = |marks: &[&str]| {
            let mark = marks.iter().find(|mark| {
                let digits = self.rest.strip_prefix(**mark);
                digits.is_some_and(|digits| digits.starts_with(digit))
            });
            if let Some(mark) = mark {
                self.rest = &self.rest[mark.len()..];
                self.taken_while(digit);
            }
        };
        part(&["."]);
        part(&["e-", "e+", "e"]);
        start[..start.len() - self.rest.len()].parse().ok()
    }
}
