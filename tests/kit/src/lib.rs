//! What the integration tests share: comparisons, fixtures, devices.
