//! The one integration-test binary: every layer against its oracle.

mod adaptive;
mod analytic;
mod app_model;
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
mod official;
mod ops;
mod sampling;
mod torch;
mod training;
mod unet;
