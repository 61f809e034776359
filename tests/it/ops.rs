//! Every operation of the registry against its oracles.
