//! Published sizes.

use super::CPU;
use sit_engine::model::{Dit, ModelConfig, Storage};
use sit_tests::fixture::Fixture;
use sit_tests::{assert_close, official};

/// Larger models take gigabytes; `cargo xtask parity` checks them.
const MOST_PARAMS: usize = 200_000_000;

#[test]
fn outputs_of_published_sizes() {
    let file = Fixture::open("sit_presets");
    let mut n = 0;
    for (name, _) in file.root().at("models").entries() {
        let config = Dit::preset(name);
        let config = config.unwrap_or_else(|| panic!("{name}: not a published size"));
        if ModelConfig::from(config).n_params() <= MOST_PARAMS {
            let (got, want) = official::preset(CPU.device, name, Storage::F32);
            assert_close(name, &got, &want, CPU.tensor);
            n += 1;
        }
    }
    assert!(n > 0, "all are large");
}
