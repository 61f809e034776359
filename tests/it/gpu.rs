//! The GPU backend on any Vulkan device, a software one included.
