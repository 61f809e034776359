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
//! use sit_engine::Result;
//! use sit_engine::graph::{Graph, Var};
//! use sit_engine::nn::{Init, Linear, Scope};
//! use sit_engine::ops::pointwise;
//!
//! /// `y = x + w2 tanh(w1 x)`.
//! struct Residual {
//!     first: Linear,
//!     second: Linear,
//! }
//!
//! impl Residual {
//!     fn new(s: &mut Scope<'_>, name: &str, dim: usize) -> Result<Self> {
//!         let mut s = s.at(name);
//!         Ok(Residual {
//!             first: Linear::new(&mut s, "first", [4 * dim, dim], Init::Xavier)?,
//!             second: Linear::new(&mut s, "second", [dim, 4 * dim], Init::Zeros)?,
//!         })
//!     }
//!
//!     /// x `[.., dim]` -> `[.., dim]`.
//!     fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
//!         let h = self.first.forward(g, x)?;
//!         let h = pointwise::tanh(g, h)?;
//!         let h = self.second.forward(g, h)?;
//!         pointwise::add(g, x, h)
//!     }
//! }
//! ```
//!
//! `engine/examples/own_network.rs` is a whole network that is trained, sampled and saved.
//!
//! Declare parameters in the order of the official module's `__init__`: the index of a parameter is part of the key of its random
//! initial values.

mod attention;
mod conv;
mod embed;
mod group_norm;
mod init;
mod linear;
mod mlp;
mod scope;
mod token_norm;

pub use attention::{CrossAttention, SelfAttention};
pub use conv::Conv;
pub(crate) use embed::sines;
pub use embed::{ClassTokens, LabelEmbed, PatchEmbed, Rotary, TimeEmbed};
pub use group_norm::GroupNorm;
pub use init::Init;
pub use linear::Linear;
pub use mlp::{Activation, Mlp};
pub use scope::{ParamSpec, Params, Scope};
pub use token_norm::TokenNorm;
