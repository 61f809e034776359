//! Layers, and the scope in which they declare their parameters.
//!
//! # Theory
//! A network is a function of its inputs and of named tensors. PyTorch separates the two: modules register parameters at
//! construction, in an order that file formats and seeds depend on, and use them later, possibly in another order. Here one
//! traversal does both: each layer first declares its parameters in a [`Scope`] (name, shape, initial values) and then appends
//! operations to the graph. So the list of parameters, the initial weights, the validation of a file and the graph cannot disagree.
//!
//! # Practice
//! A layer is a small struct of [`Var`](crate::graph::Var)s. `new` declares, `forward` computes:
//!
//! ```
//! use sit_engine::graph::{Graph, SetId};
//! use sit_engine::nn::{Init, Linear, Params};
//!
//! # fn main() -> sit_engine::Result<()> {
//! let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
//! let x = g.input("x", [8, 16]);
//! let layer = Linear::new(&mut params.scope(&mut g), "mlp.fc1", [32, 16], Init::Xavier)?;
//! let y = layer.forward(&mut g, x)?;
//! assert_eq!(**g.shape(y), [8, 32]);
//! assert_eq!(params.specs()[0].name, "mlp.fc1.weight");
//! # Ok(())
//! # }
//! ```
//!
//! Declare parameters in the order of the official module's `__init__`: the index of a parameter is part of the key of its random
//! initial values.

mod embed;
mod init;
mod linear;
mod scope;

pub use embed::{LabelEmbed, PatchEmbed, TimeEmbed};
pub use init::Init;
pub use linear::Linear;
pub use scope::{ParamSpec, Params, Scope};
