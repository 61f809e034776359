//! Placeholder crate: the app comes with a later change.
