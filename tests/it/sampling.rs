//! Solvers against exact velocities and against the official code.
