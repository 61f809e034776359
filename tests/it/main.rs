//! The one integration-test binary: every layer against its oracle.

mod adaptive;
mod analytic;
mod app_model;
mod archives;
mod autoencoder;
mod checkpoint;
mod cli;
mod combinations;
mod distill;
mod edges;
mod foreign;
mod gpu;
mod hostile;
mod launch;
mod library;
mod likelihood;
mod memory;
mod names;
mod official;
mod ops;
mod recompute;
mod sampling;
mod storage;
mod torch;
mod training;
mod unet;
