//! Likelihoods: exact on distributions that are known, and on the tiny network against numbers of PyTorch.

mod network;
mod worlds;
