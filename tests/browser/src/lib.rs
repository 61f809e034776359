//! What `cargo xtask web-test` runs inside a browser. Elsewhere this crate is empty.

#[cfg(target_arch = "wasm32")]
mod checks;
