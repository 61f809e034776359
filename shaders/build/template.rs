//! The template language of `wgsl/*.wgsl`: integer parameters, unrolled loops, includes.
//!
//! A directive is a line that starts with `#`; everything else is WGSL in which `${expr}` is replaced.
//!
//! ```text
//! #params TILE GELU                    the parameters of this file; every `#entry` or `#include` sets them all
//! #include "lib/x.wgsl" LANES=64       another file, expanded with its own parameters and no others
//! #entry linear_fwd_64 TILE=64 GELU=0  starts the section of an entry point; neighboring `#entry` lines share
//! #entry linear_fwd_32 TILE=32 GELU=0  the section and make one variant each. The name is `${ENTRY}`
//! #for i in 0..TILE / 16 ... #end      unrolled
//! #if GELU ... #else ... #end          kept where the expression is not 0
//! ```
//!
//! Lines before the first `#entry` belong to every entry of the file. Expressions consist of integers, names, `+ - * / %`,
//! `== != < >` and parentheses; a parameter whose value is a word can only be inserted, as `${NAME}`.

use std::collections::BTreeMap;

/// One expanded entry point: a whole WGSL module.
#[derive(Debug, Default)]
pub struct Entry {
    pub name: String,
    pub source: String,
    /// `file:line` that each line of `source` comes from.
    pub origins: Vec<String>,
}

#[derive(Clone, Debug)]
enum Value {
    Int(i64),
    Word(String),
}

type Scope = BTreeMap<String, Value>;
/// A line with its number and its file, for messages.
type Line<'a> = (usize, &'a str);

/// Loads the text of an `#include`.
pub type Loader<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Expands the file `path` into one module per `#entry` line.
pub fn expand(path: &str, text: &str, load: Loader) -> Result<Vec<Entry>, String> {
    let file = File { path, load };
    let lines: Vec<Line> = text
        .lines()
        .enumerate()
        .map(|(i, line)| (i + 1, line))
        .collect();
    let is_entry = |line: &Line| directive(line.1).is_some_and(|(word, _)| word == "entry");
    let first = lines
        .iter()
        .position(is_entry)
        .ok_or_else(|| format!("{path}: no #entry line"))?;
    let (params, common) = file.params(&lines[..first])?;

    let mut entries = Vec::new();
    let mut rest = &lines[first..];
    while !rest.is_empty() {
        let heads = rest.iter().take_while(|line| is_entry(line)).count();
        let body = &rest[heads..];
        let len = body.iter().position(is_entry).unwrap_or(body.len());
        for &head in &rest[..heads] {
            let (name, assignments) = split_word(directive(head.1).map_or("", |(_, args)| args));
            let mut scope = file.bind(head, &params, assignments, &Scope::new())?;
            scope.insert("ENTRY".into(), Value::Word(name.into()));
            let mut entry = Entry {
                name: name.into(),
                ..Entry::default()
            };
            file.block(common, &scope, &mut entry)?;
            file.block(&body[..len], &scope, &mut entry)?;
            entries.push(entry);
        }
        rest = &body[len..];
    }
    Ok(entries)
}

struct File<'a> {
    path: &'a str,
    load: Loader<'a>,
}

impl File<'_> {
    fn error<T>(&self, line: Line, what: impl std::fmt::Display) -> Result<T, String> {
        Err(format!(
            "{}:{}: {what}\n    {}",
            self.path,
            line.0,
            line.1.trim()
        ))
    }

    /// Splits the `#params` line, which must come before any other directive, off `lines`.
    fn params<'a>(&self, lines: &'a [Line<'a>]) -> Result<(Vec<&'a str>, &'a [Line<'a>]), String> {
        let Some(at) = lines.iter().position(|line| directive(line.1).is_some()) else {
            return Ok((vec![], lines));
        };
        match directive(lines[at].1) {
            Some(("params", names))
                if lines[..at]
                    .iter()
                    .all(|line| line.1.trim_start().starts_with("//")) =>
            {
                Ok((names.split_whitespace().collect(), &lines[at + 1..]))
            }
            Some(("params", _)) => self.error(lines[at], "#params belongs at the top of the file"),
            _ => Ok((vec![], lines)),
        }
    }

    /// Sets exactly the declared parameters from `NAME=value` words; a value is an integer, a name of `outer` or a word.
    fn bind(
        &self,
        line: Line,
        params: &[&str],
        assignments: &str,
        outer: &Scope,
    ) -> Result<Scope, String> {
        let mut scope = Scope::new();
        for assignment in assignments.split_whitespace() {
            let Some((name, value)) = assignment.split_once('=') else {
                return self.error(line, format!("expected NAME=value, got {assignment}"));
            };
            if !params.contains(&name) {
                return self.error(line, format!("{name} is not in #params"));
            }
            let value = match (value.parse(), outer.get(value)) {
                (Ok(int), _) => Value::Int(int),
                (_, Some(known)) => known.clone(),
                _ => Value::Word(value.into()),
            };
            scope.insert(name.into(), value);
        }
        match params.iter().find(|name| !scope.contains_key(**name)) {
            Some(missing) => self.error(line, format!("parameter {missing} is not set")),
            None => Ok(scope),
        }
    }

    fn block(&self, lines: &[Line], scope: &Scope, out: &mut Entry) -> Result<(), String> {
        let mut i = 0;
        while let Some(&line) = lines.get(i) {
            i += 1;
            let Some((word, args)) = directive(line.1) else {
                out.source.push_str(&self.substitute(line, scope)?);
                out.source.push('\n');
                out.origins.push(format!("{}:{}", self.path, line.0));
                continue;
            };
            match word {
                "include" => self.include(line, args, scope, out)?,
                "for" => {
                    let (body, _, len) = self.body(line, &lines[i..])?;
                    i += len;
                    let (name, range) = split_word(args);
                    let Some((from, to)) = range
                        .strip_prefix("in ")
                        .and_then(|range| range.split_once(".."))
                    else {
                        return self.error(line, "expected #for NAME in FROM..TO");
                    };
                    for value in self.int(line, from, scope)?..self.int(line, to, scope)? {
                        let mut inner = scope.clone();
                        inner.insert(name.into(), Value::Int(value));
                        self.block(body, &inner, out)?;
                    }
                }
                "if" => {
                    let (body, otherwise, len) = self.body(line, &lines[i..])?;
                    i += len;
                    let chosen = if self.int(line, args, scope)? != 0 {
                        body
                    } else {
                        otherwise
                    };
                    self.block(chosen, scope, out)?;
                }
                other => return self.error(line, format!("#{other} is no directive, or not here")),
            }
        }
        Ok(())
    }

    /// The lines up to the matching `#end`, those after a `#else`, and how many were consumed.
    fn body<'a>(
        &self,
        head: Line,
        lines: &'a [Line<'a>],
    ) -> Result<(&'a [Line<'a>], &'a [Line<'a>], usize), String> {
        let (mut depth, mut other) = (0, None);
        for (i, line) in lines.iter().enumerate() {
            match directive(line.1).map(|(word, _)| word) {
                Some("for" | "if") => depth += 1,
                Some("else") if depth == 0 => other = Some(i),
                Some("end") if depth > 0 => depth -= 1,
                Some("end") => {
                    let (body, otherwise) = match other {
                        Some(at) => (&lines[..at], &lines[at + 1..i]),
                        None => (&lines[..i], &lines[i..i]),
                    };
                    return Ok((body, otherwise, i + 1));
                }
                _ => {}
            }
        }
        self.error(head, "no matching #end")
    }

    fn include(
        &self,
        line: Line,
        args: &str,
        scope: &Scope,
        out: &mut Entry,
    ) -> Result<(), String> {
        let args = self.substitute((line.0, args), scope)?;
        let (path, assignments) = split_word(&args);
        let path = path.trim_matches('"');
        let text = (self.load)(path).or_else(|error| self.error(line, error))?;
        let lines: Vec<Line> = text
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line))
            .collect();
        let file = File {
            path,
            load: self.load,
        };
        let (params, body) = file.params(&lines)?;
        let scope = self.bind(line, &params, assignments, scope)?;
        file.block(body, &scope, out)
    }

    /// Replaces each `${expr}`.
    fn substitute(&self, line: Line, scope: &Scope) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = line.1;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((expr, tail)) = after.split_once('}') else {
                return self.error(line, "`${` without `}`");
            };
            out.push_str(before);
            match scope.get(expr.trim()) {
                Some(Value::Word(word)) => out.push_str(word),
                _ => out.push_str(&self.int(line, expr, scope)?.to_string()),
            }
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn int(&self, line: Line, text: &str, scope: &Scope) -> Result<i64, String> {
        let mut expr = Expr {
            tokens: tokenize(text),
            at: 0,
            scope,
        };
        match expr.binary(0) {
            Ok(value) if expr.at == expr.tokens.len() => Ok(value),
            Ok(_) => self.error(line, format!("cannot read the expression `{text}`")),
            Err(error) => self.error(line, format!("in `{text}`: {error}")),
        }
    }
}

/// `#word args`, if the line is a directive.
fn directive(line: &str) -> Option<(&str, &str)> {
    line.trim_start().strip_prefix('#').map(split_word)
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace)
        .map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

fn tokenize(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens: Vec<String> = Vec::new();
    let mut previous = ' ';
    for c in text.chars() {
        let joins =
            (is_word(c) && is_word(previous)) || (c == '=' && matches!(previous, '=' | '!'));
        match tokens.last_mut() {
            Some(last) if joins => last.push(c),
            _ if c.is_whitespace() => {}
            _ => tokens.push(c.into()),
        }
        previous = c;
    }
    tokens
}

/// A precedence-climbing evaluator.
struct Expr<'a> {
    tokens: Vec<String>,
    at: usize,
    scope: &'a Scope,
}

impl Expr<'_> {
    fn binary(&mut self, min_precedence: u8) -> Result<i64, String> {
        let mut left = self.atom()?;
        while let Some(operator) = self.tokens.get(self.at).cloned() {
            let precedence = match operator.as_str() {
                "*" | "/" | "%" => 3,
                "+" | "-" => 2,
                "==" | "!=" | "<" | ">" => 1,
                _ => break,
            };
            if precedence <= min_precedence {
                break;
            }
            self.at += 1;
            let right = self.binary(precedence)?;
            left = match operator.as_str() {
                "*" => Some(left * right),
                "/" => left.checked_div(right),
                "%" => left.checked_rem(right),
                "+" => Some(left + right),
                "-" => Some(left - right),
                "==" => Some((left == right).into()),
                "!=" => Some((left != right).into()),
                "<" => Some((left < right).into()),
                _ => Some((left > right).into()),
            }
            .ok_or("division by zero")?;
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<i64, String> {
        let token = self.tokens.get(self.at).cloned().ok_or("unexpected end")?;
        self.at += 1;
        if token == "(" {
            let value = self.binary(0)?;
            let closed = self.tokens.get(self.at).is_some_and(|token| token == ")");
            self.at += 1;
            return if closed {
                Ok(value)
            } else {
                Err("missing )".into())
            };
        }
        match (token.parse(), self.scope.get(&token)) {
            (Ok(value), _) | (_, Some(&Value::Int(value))) => Ok(value),
            (_, Some(Value::Word(word))) => {
                Err(format!("{token} is the word {word}, expected an integer"))
            }
            _ => Err(format!("unknown name {token}")),
        }
    }
}
