//! Formulas in the fixtures' files: arithmetic in f64.

mod parser;

use parser::Parser;

/// An expression of numbers, names and functions, such as `0.1*sin(1.7*i+0.3*k)`.
///
/// The operations, weakest first: `A where CONDITION, else B`; `+ -`; `* / mod`; a sign; `^`. A condition compares
/// (`0 < t <= 1`) or is `x is even`. `sum over m < 4 of` stands before a product. The functions are sin, cos, exp, log, sqrt,
/// abs, floor, min, max, clamp(x, low, high) and r(i, k), the hash of `inception.json`, which reads the name `seed`.
#[derive(Debug, Clone, PartialEq)]
pub struct Formula(Node);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Number(f64),
    Name(String),
    /// The index of [`Formula::values`].
    Index,
    Call(&'static Function, Vec<Node>),
}

#[derive(Debug)]
struct Function {
    name: &'static str,
    n_args: usize,
    apply: fn([f64; 3]) -> f64,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const MOST_ARGS: usize = 3;

macro_rules! functions {
    ($($name:literal $n_args:literal $apply:expr;)+) => {
        &[$(Function { name: $name, n_args: $n_args, apply: $apply }),+]
    };
}

/// Operators, and functions that formulas call by name.
static FUNCTIONS: &[Function] = functions! {
    "+" 2 |[a, b, _]| a + b;
    "-" 2 |[a, b, _]| a - b;
    "*" 2 |[a, b, _]| a * b;
    "/" 2 |[a, b, _]| a / b;
    "mod" 2 |[a, b, _]| a.rem_euclid(b);
    "^" 2 |[a, b, _]| libm::pow(a, b);
    "sign" 1 |[a, ..]| -a;
    "where" 3 |[a, condition, b]| if condition == 0.0 { b } else { a };
    "and" 2 |[a, b, _]| a * b;
    "even" 1 |[a, ..]| f64::from(a.rem_euclid(2.0) == 0.0);
    "<=" 2 |[a, b, _]| f64::from(a <= b);
    ">=" 2 |[a, b, _]| f64::from(a >= b);
    "<" 2 |[a, b, _]| f64::from(a < b);
    ">" 2 |[a, b, _]| f64::from(a > b);
    "sin" 1 |[a, ..]| libm::sin(a);
    "cos" 1 |[a, ..]| libm::cos(a);
    "exp" 1 |[a, ..]| libm::exp(a);
    "log" 1 |[a, ..]| libm::log(a);
    "sqrt" 1 |[a, ..]| a.sqrt();
    "abs" 1 |[a, ..]| a.abs();
    "floor" 1 |[a, ..]| a.floor();
    "min" 2 |[a, b, _]| a.min(b);
    "max" 2 |[a, b, _]| a.max(b);
    "clamp" 3 |[a, low, high]| a.max(low).min(high);
    "r" 3 hash;
};

/// A number in [-1, 1), uniform in `i` and `k`.
fn hash([i, k, seed]: [f64; 3]) -> f64 {
    let mut x = (i as u64)
        .wrapping_add(1_000_003 * k as u64)
        .wrapping_add(seed as u64) as u32;
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^= x >> 16;
    2.0 * (f64::from(x) / 4_294_967_296.0) - 1.0
}

impl Formula {
    /// The first formula in `text` that can be read: at its beginning or after a colon.
    ///
    /// # Panics
    /// When there is none.
    pub fn stated(text: &str) -> Formula {
        let starts = std::iter::once(0).chain(text.match_indices(": ").map(|(at, _)| at + 2));
        let mut found = starts.filter_map(|at| read(&text[at..]));
        found
            .next()
            .unwrap_or_else(|| panic!("no formula in: {text}"))
    }

    /// The formula after `label`, separated by a colon, an equals sign or nothing: `x: sin(0.1*i)`.
    ///
    /// # Panics
    /// When there is none.
    pub fn labelled(text: &str, label: &str) -> Formula {
        let behind = |(at, _): (usize, &str)| {
            let inside = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let rest = text[at + label.len()..].trim_start();
            let rest = rest.strip_prefix([':', '=']).unwrap_or(rest);
            if inside { None } else { read(rest) }
        };
        let mut found = text.match_indices(label).filter_map(behind);
        found
            .next()
            .unwrap_or_else(|| panic!("no formula behind \"{label}\" in: {text}"))
    }

    /// The formula with a name replaced by a number.
    #[must_use]
    pub fn with(&self, name: &str, number: f64) -> Formula {
        Formula(self.0.replaced(name, &Node::Number(number)))
    }

    /// The value of a formula without names.
    ///
    /// # Panics
    /// When it contains a name.
    pub fn number(&self) -> f64 {
        self.check_names();
        self.0.value(0.0)
    }

    /// The numbers for `i` = 0 to `n` - 1, rounded to f32.
    ///
    /// # Panics
    /// When it contains another name.
    pub fn values(&self, n: usize) -> Vec<f32> {
        let of_index = Formula(self.0.replaced("i", &Node::Index));
        of_index.check_names();
        (0..n).map(|i| of_index.0.value(i as f64) as f32).collect()
    }

    /// As [`Formula::values`], in f64.
    ///
    /// # Panics
    /// As there.
    pub fn exact(&self, n: usize) -> Vec<f64> {
        let of_index = Formula(self.0.replaced("i", &Node::Index));
        of_index.check_names();
        (0..n).map(|i| of_index.0.value(i as f64)).collect()
    }

    fn check_names(&self) {
        if let Some(name) = self.0.a_name() {
            panic!("the formula has the name {name}, which has no number: {self:?}");
        }
    }
}

/// A formula at the beginning of a text, if it is complete.
fn read(text: &str) -> Option<Formula> {
    let mut parser = Parser::new(text);
    let node = parser.expression()?;
    let rest = parser.rest().trim_start();
    let ends = rest.is_empty()
        || rest.starts_with([',', ';', '.', '('])
        || ["in", "under"].contains(&rest.split(' ').next()?);
    let bare = matches!(node, Node::Name(_));
    (ends && !bare).then_some(Formula(node))
}

impl Node {
    /// A call, evaluated at once if its operands are numbers.
    fn call(name: &str, args: Vec<Node>) -> Option<Node> {
        let function = FUNCTIONS.iter().find(|f| f.name == name)?;
        let constant = args.iter().all(|arg| matches!(arg, Node::Number(_)));
        let call = (args.len() == function.n_args).then_some(Node::Call(function, args))?;
        Some(match constant {
            true => Node::Number(call.value(0.0)),
            false => call,
        })
    }

    fn replaced(&self, name: &str, by: &Node) -> Node {
        match self {
            Node::Name(own) if own == name => by.clone(),
            Node::Call(function, args) => {
                let args = args.iter().map(|arg| arg.replaced(name, by)).collect();
                Node::call(function.name, args).expect("as many operands as before")
            }
            _ => self.clone(),
        }
    }

    fn a_name(&self) -> Option<&str> {
        match self {
            Node::Name(name) => Some(name),
            Node::Call(_, args) => args.iter().find_map(Node::a_name),
            _ => None,
        }
    }

    fn value(&self, index: f64) -> f64 {
        match self {
            Node::Number(number) => *number,
            Node::Index => index,
            Node::Name(_) => f64::NAN,
            Node::Call(function, args) => {
                let mut values = [0.0; MOST_ARGS];
                for (value, arg) in values.iter_mut().zip(args) {
                    *value = arg.value(index);
                }
                (function.apply)(values)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_bind_as_in_print() {
        for (text, expected) in [
            ("1+2*3-4/2", 5.0),
            ("2-3-4", -5.0),
            ("-2^2 + 2^3^2", 508.0),
            ("2^-1", 0.5),
            ("1.5e-3*1e3", 1.5),
            ("0.05+0.09*((3*2+1)*7 mod 10)", 0.05 + 0.09 * 9.0),
            ("-1 mod 3", 2.0),
            ("clamp(1.2*sin(2),-1,1)", 1.0),
            ("min(0.25, sqrt(2)-1)", 0.25),
            ("2*sum over m < 4 of (m+1)*2 + 1", 41.0),
            ("1 where 0 >= 0, else -1", 1.0),
            ("7 where 1 < 3 <= 2, else -1", -1.0),
            ("255 where floor(33/16)+floor(17/16) is even else 0", 0.0),
        ] {
            assert_eq!(Formula::stated(text).number(), expected, "{text}");
        }
    }

    #[test]
    fn names_get_numbers_and_the_index_runs() {
        let formula = Formula::stated("0.1*sin(1.7*i+0.3*k)").with("k", 3.0);
        let expected = |i: f64| (0.1 * libm::sin(1.7 * i + 0.3 * 3.0)) as f32;
        assert_eq!(
            formula.values(3),
            [expected(0.0), expected(1.0), expected(2.0)]
        );
    }

    /// Formulas as they are in files, with values for their names and the expected result.
    #[test]
    fn formulas_are_found_in_sentences() {
        for (text, label, expected) in [
            (
                "parameter number k, flat index i: 2*i+k, computed in f64",
                "",
                7.0,
            ),
            (
                "weights: number k, flat index i: 0.5*k in f64 rounded to f32; x: i*3; every_97th: 0",
                "x",
                6.0,
            ),
            ("step s, sample b: 2*(s+1)", "", 10.0),
            ("draw j (0,1,...): 1.5*i", "", 3.0),
            ("1.5*i, shape [5,2]", "", 3.0),
            ("2*i (elementwise, flat index i)", "", 4.0),
            ("D(x) = m + 1, m = 0.5*i, a = 0.3", "m", 1.0),
            ("R=0.5+i, B=checkerboard", "R", 2.5),
            (
                "data clamp(i,-1,1), e = scale*(1.5*i), t: [-1.0]",
                "data",
                1.0,
            ),
            ("of x_data = 0.5*i under the net", "x_data", 1.0),
            ("y0' = -0.5*i; y1' = i^2", "y1'", 4.0),
        ] {
            let formula = match label {
                "" => Formula::stated(text),
                _ => Formula::labelled(text, label),
            };
            let numbers = [("i", 2.0), ("k", 3.0), ("s", 4.0)];
            let formula = numbers
                .iter()
                .fold(formula, |f, (name, x)| f.with(name, *x));
            assert_eq!(formula.number(), expected, "{text}");
        }
    }

    #[test]
    fn the_hash_is_uniform_and_reads_the_seed() {
        let values = Formula::stated("r(i,5)").with("seed", 1.0).values(10_000);
        let square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
        assert!((square - 1.0 / 3.0).abs() < 0.01, "{square}");
        assert_ne!(
            values[..9],
            Formula::stated("r(i,5)").with("seed", 2.0).values(9)
        );
    }

    /// An incomplete formula is not a formula.
    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "",
            "x",
            "1 +",
            "sin(1",
            "cos(3u)",
            "2 of them",
            "tan(1)",
            "min(1)",
            "1 = 1",
            "1*checker board",
        ] {
            assert!(read(text).is_none(), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "the name k, which has no number")]
    fn a_name_without_a_number_is_refused() {
        Formula::stated("2*i+k").values(1);
    }
}
