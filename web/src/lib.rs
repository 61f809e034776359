//! The program in a browser. Elsewhere this crate is empty.

#[cfg(target_arch = "wasm32")]
mod page;
