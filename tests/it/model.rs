//! The model and its gradients against the official PyTorch code.
