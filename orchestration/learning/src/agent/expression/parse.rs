//! From text to a tree whose types fit.

use super::{Names, Type, run};
use std::fmt::Display;

/// Nesting beyond this is a mistake, and would be a deep stack; so would be longer chains.
const DEPTH_MAX: u32 = 64;
const OPERATORS_MAX: u32 = 256;

type Parsed<T> = Result<T, String>;

/// One part of an expression. Times are in milliseconds.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Number(f64),
    Truth(bool),
    Text(String),
    Name(String),
    Not(Box<Node>),
    Minus(Box<Node>),
    Two(Operator, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Less,
    AtMost,
    More,
    AtLeast,
    Same,
    Other,
    Plus,
    Minus,
    Times,
    By,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Least,
    Most,
    Abs,
    Mean,
    Max,
    Min,
    Quantile,
    ShareAbove,
}

/// By how strongly they bind, the weakest first; longer ones before those that they begin with.
const OPERATORS: [&[(&str, Operator)]; 5] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("==", Operator::Same),
        ("!=", Operator::Other),
        ("<", Operator::Less),
        (">", Operator::More),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[("*", Operator::Times), ("/", Operator::By)],
];
const COMPARISONS: usize = 2;

pub(super) fn parse(text: &str, names: Names) -> Parsed<(Node, Type)> {
    let mut parser = Parser { rest: text, names, depth: 0, operators: 0 };
    let found = parser.level(0)?;
    parser.space();
    match parser.rest.is_empty() {
        true => Ok(found),
        false => Err(format!("`{}` is not understood here", parser.shown())),
    }
}

struct Parser<'a> {
    rest: &'a str,
    names: Names<'a>,
    depth: u32,
    operators: u32,
}

impl<'a> Parser<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn shown(&self) -> String {
        self.rest.chars().take(20).collect()
    }

    fn take(&mut self, word: &str) -> bool {
        self.space();
        let Some(rest) = self.rest.strip_prefix(word) else { return false };
        self.rest = rest;
        true
    }

    fn expect(&mut self, word: &str) -> Parsed<()> {
        match self.take(word) {
            true => Ok(()),
            false if self.rest.is_empty() => Err(format!("it ends where a `{word}` should be")),
            false => Err(format!("a `{word}` should be at `{}`", self.shown())),
        }
    }

    /// Operators of one strength, and what binds more strongly between them.
    fn level(&mut self, level: usize) -> Parsed<(Node, Type)> {
        let Some(operators) = OPERATORS.get(level) else { return self.nested(Self::prefixed) };
        let mut left = self.level(level + 1)?;
        while let Some((_, operator)) = operators.iter().find(|(word, _)| self.take(word)) {
            self.operators += 1;
            if self.operators > OPERATORS_MAX {
                return Err(format!("it has more than {OPERATORS_MAX} operators"));
            }
            let right = self.level(level + 1)?;
            left = two(*operator, left, right)?;
            if level == COMPARISONS {
                break;
            }
        }
        Ok(left)
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} times"));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn prefixed(&mut self) -> Parsed<(Node, Type)> {
        if self.take("!") {
            let (node, found) = self.nested(Self::prefixed)?;
            fits("behind `!`", found, &[Type::Truth])?;
            return Ok((Node::Not(Box::new(node)), Type::Truth));
        }
        if self.take("-") {
            let (node, found) = self.nested(Self::prefixed)?;
            fits("behind `-`", found, &[Type::Number, Type::Time])?;
            return Ok((Node::Minus(Box::new(node)), found));
        }
        self.primary()
    }

    fn primary(&mut self) -> Parsed<(Node, Type)> {
        if self.take("(") {
            let inner = self.level(0)?;
            self.expect(")")?;
            return Ok(inner);
        }
        self.space();
        match self.rest.bytes().next() {
            None => Err("it ends where a value should be".into()),
            Some(b'"') => self.text(),
            Some(byte) if byte.is_ascii_digit() || byte == b'.' => self.number(),
            Some(byte) if byte.is_ascii_alphabetic() => self.word(),
            Some(_) => Err(format!("`{}` is no value", self.shown())),
        }
    }

    fn cut(&mut self, keep: impl Fn(u8) -> bool) -> &'a str {
        let end = self.rest.bytes().position(|byte| !keep(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn text(&mut self) -> Parsed<(Node, Type)> {
        self.take("\"");
        let Some((text, rest)) = self.rest.split_once('"') else {
            return Err("a text has no closing `\"`".into());
        };
        self.rest = rest;
        Ok((Node::Text(text.to_owned()), Type::Text))
    }

    fn number(&mut self) -> Parsed<(Node, Type)> {
        let digits = self.cut(|byte| byte.is_ascii_digit() || byte == b'.');
        let value: f64 = digits.parse().map_err(|_| format!("`{digits}` is no number"))?;
        let unit = self.cut(|byte| byte.is_ascii_alphabetic());
        let millis = match unit {
            "" => return Ok((Node::Number(value), Type::Number)),
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 6e4,
            "h" => 3.6e6,
            "d" => 8.64e7,
            _ => return Err(format!("`{unit}` is no unit: write ms, s, m, h or d")),
        };
        Ok((Node::Number(value * millis), Type::Time))
    }

    fn word(&mut self) -> Parsed<(Node, Type)> {
        let word = self.cut(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
        if self.take("(") {
            return self.call(word);
        }
        match word {
            "true" | "false" => Ok((Node::Truth(word == "true"), Type::Truth)),
            _ => match (self.names)(word) {
                Some(found) => Ok((Node::Name(word.to_owned()), found)),
                None => Err(format!("`{word}` is not known")),
            },
        }
    }

    fn call(&mut self, word: &str) -> Parsed<(Node, Type)> {
        let (mut nodes, mut types) = (Vec::new(), Vec::new());
        loop {
            let (node, found) = self.level(0)?;
            nodes.push(node);
            types.push(found);
            if !self.take(",") {
                break;
            }
        }
        self.expect(")")?;
        let (function, found) = function(word, &types)?;
        if function == Function::Quantile {
            let share = nodes.get(1).and_then(run::constant);
            if share.is_none_or(|share| !(0.0..=1.0).contains(&share)) {
                return Err("the share of a quantile is a number from 0 to 1".into());
            }
        }
        Ok((Node::Call(function, nodes), found))
    }
}

/// The function of this name that takes these, and what it gives.
fn function(word: &str, types: &[Type]) -> Parsed<(Function, Type)> {
    use Type::{Number, Numbers, Time, Times};
    let known = "abs, mean, max, min, quantile and share_above";
    Ok(match (word, types) {
        ("abs", [one @ (Number | Time)]) => (Function::Abs, *one),
        ("min", [one @ (Number | Time), other]) if one == other => (Function::Least, *one),
        ("max", [one @ (Number | Time), other]) if one == other => (Function::Most, *one),
        ("mean", [of @ (Numbers | Times), Time]) => (Function::Mean, each(*of)),
        ("max", [of @ (Numbers | Times), Time]) => (Function::Max, each(*of)),
        ("min", [of @ (Numbers | Times), Time]) => (Function::Min, each(*of)),
        ("quantile", [of @ (Numbers | Times), Number, Time]) => (Function::Quantile, each(*of)),
        ("share_above", [of @ (Numbers | Times), level, Time]) if each(*of) == *level => {
            (Function::ShareAbove, Number)
        }
        ("abs" | "mean" | "max" | "min" | "quantile" | "share_above", _) => {
            let given: Vec<_> = types.iter().map(Type::to_string).collect();
            return Err(format!(
                "`{word}` does not take ({}): write `max(a, b)`, `mean(here.latency, 5m)`, `quantile(here.latency, 0.95, 5m)` or `share_above(here.latency, 150ms, 5m)`",
                given.join("; ")
            ));
        }
        _ => return Err(format!("`{word}` is no function: there are {known}")),
    })
}

fn each(samples: Type) -> Type {
    if samples == Type::Times { Type::Time } else { Type::Number }
}

fn two(operator: Operator, left: (Node, Type), right: (Node, Type)) -> Parsed<(Node, Type)> {
    use Operator as O;
    use Type::{Number, Text, Time, Truth};
    let ((left, one), (right, other)) = (left, right);
    let found = match (operator, one, other) {
        (O::Or | O::And, Truth, Truth) => Truth,
        (O::Same | O::Other, Truth | Number | Time | Text, _) if one == other => Truth,
        (O::Less | O::AtMost | O::More | O::AtLeast, Number | Time, _) if one == other => Truth,
        (O::Plus | O::Minus, Number | Time, _) if one == other => one,
        (O::Times, Number, Number | Time) => other,
        (O::Times | O::By, Time, Number) => Time,
        (O::By, Number, Number) | (O::By, Time, Time) => Number,
        _ => return Err(format!("{one} and {other} do not go together here")),
    };
    if operator == O::By && run::constant(&right) == Some(0.0) {
        return Err("it divides by zero".into());
    }
    Ok((Node::Two(operator, Box::new(left), Box::new(right)), found))
}

fn fits(place: impl Display, found: Type, allowed: &[Type]) -> Parsed<()> {
    match allowed.contains(&found) {
        true => Ok(()),
        false => Err(format!("{found} cannot stand {place}")),
    }
}
