//! Declaration of parameters: one traversal yields names, shapes, initial values and the graph.

use super::Init;
use crate::error::{Error, Result};
use crate::graph::{Graph, SetId, Var};
use crate::shape::Shape;
use crate::table::Table;
use std::collections::BTreeMap;
use std::fmt::Display;

/// A parameter of a network.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Official PyTorch name.
    pub name: String,
    /// Shape in checkpoint files.
    pub shape: Shape,
    /// Initial values.
    pub init: Init,
}

#[doc(hidden)]
impl ParamSpec {
    /// Whether it is trained. Fixed tables are not, but files contain them for other programs.
    pub fn is_trained(&self) -> bool {
        !matches!(self.init, Init::Table(_))
    }

    /// Whether the papers count it.
    pub(crate) fn is_counted(&self) -> bool {
        match self.init {
            Init::Table(table) => table.is_counted(),
            _ => true,
        }
    }
}

/// The parameters of one set in a graph. They are declared once, even if the network is evaluated several times.
#[doc(hidden)]
#[derive(Debug)]
pub struct Params {
    set: SetId,
    specs: Vec<ParamSpec>,
    vars: BTreeMap<String, (usize, Var)>,
}

impl Params {
    /// An empty list for the set.
    pub fn new(set: SetId) -> Self {
        Params {
            set,
            specs: Vec::new(),
            vars: BTreeMap::new(),
        }
    }

    /// The root scope, without a prefix.
    pub fn scope<'a>(&'a mut self, graph: &'a mut Graph) -> Scope<'a> {
        Scope {
            graph,
            params: self,
            prefix: String::new(),
        }
    }

    /// All parameters, in the order in which they were declared.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// The parameters as a list.
    pub(crate) fn into_specs(self) -> Vec<ParamSpec> {
        self.specs
    }

    /// The trained parameters with their graph values, in order.
    pub fn trained(&self) -> impl Iterator<Item = (&str, Var)> {
        let trained = self.specs.iter().filter(|spec| spec.is_trained());
        trained.map(|spec| (&spec.name[..], self.vars[&spec.name].1))
    }
}

/// A graph, and the list of parameters to declare in it under a common prefix.
#[derive(Debug)]
pub struct Scope<'a> {
    graph: &'a mut Graph,
    params: &'a mut Params,
    prefix: String,
}

impl Scope<'_> {
    /// The graph.
    pub fn graph(&mut self) -> &mut Graph {
        self.graph
    }

    /// A sub-scope, whose names have the prefix `part` and a dot.
    pub fn at(&mut self, part: impl Display) -> Scope<'_> {
        Scope {
            prefix: self.name(part) + ".",
            graph: self.graph,
            params: self.params,
        }
    }

    /// Appends what `build` appends as a block, whose inside training can compute again rather than keep
    /// ([`Training::recompute`](crate::train::Training::recompute)).
    pub fn block<T>(&mut self, build: impl FnOnce(&mut Self) -> T) -> T {
        let start = self.graph.nodes().len();
        let built = build(self);
        self.graph.end_block(start);
        built
    }

    /// Declares a parameter, or returns the existing one of that name.
    ///
    /// # Errors
    /// [`Error::Shape`] when it was declared with another shape or initial values.
    pub fn param(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Result<Var> {
        let set = self.params.set;
        self.declare(name, shape.into(), init, |g, name, shape| {
            g.param_of(set, name, shape.clone())
        })
    }

    fn declare(
        &mut self,
        name: &str,
        shape: Shape,
        init: Init,
        leaf: impl FnOnce(&mut Graph, &str, &Shape) -> Var,
    ) -> Result<Var> {
        let spec = ParamSpec {
            name: self.name(name),
            shape,
            init,
        };
        if let Some((index, var)) = self.params.vars.get(&spec.name) {
            let known = &self.params.specs[*index];
            if *known == spec {
                return Ok(*var);
            }
            return Err(Error::Shape(format!(
                "parameter {} is declared twice: {} {:?} and {} {:?}",
                spec.name, known.shape, known.init, spec.shape, spec.init
            )));
        }
        let var = leaf(self.graph, &spec.name, &spec.shape);
        let index = self.params.specs.len();
        self.params.vars.insert(spec.name.clone(), (index, var));
        self.params.specs.push(spec);
        Ok(var)
    }

    fn name(&self, part: impl Display) -> String {
        format!("{}{part}", self.prefix)
    }
}

#[doc(hidden)]
impl Scope<'_> {
    /// Declares a fixed table. Files store it under `name` with the shape `shape`; the returned value has the table's own shape.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn table(&mut self, name: &str, shape: impl Into<Shape>, table: Table) -> Result<Var> {
        let init = Init::Table(table);
        self.declare(name, shape.into(), init, |g, _, _| g.table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_declared_once_and_never_twice_otherwise() {
        let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
        let mut scope = params.scope(&mut g);
        let w = scope.at("fc").param("weight", [2, 3], Init::Xavier);
        assert_eq!(scope.at("fc").param("weight", [2, 3], Init::Xavier), w);
        let other = scope.at("fc").param("weight", [3, 2], Init::Xavier);
        assert_eq!(
            other.unwrap_err().to_string(),
            "parameter fc.weight is declared twice: [2, 3] Xavier and [3, 2] Xavier"
        );
        let table = Table::TimeFreqs { n: 4 };
        let t = scope.table("freqs", [1, 4], table).unwrap();
        assert_eq!(**g.shape(t), [4]);
        let trained: Vec<&str> = params.trained().map(|(name, _)| name).collect();
        assert_eq!(trained, ["fc.weight"]);
    }
}
