//! Losses, the optimizer and resume against the official code.
