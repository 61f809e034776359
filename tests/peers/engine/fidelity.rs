//! The weights for `cargo xtask bench --peers torch-fidelity`: `peer-fidelity WEIGHTS.safetensors` writes those of the fixture of the Inception
//! network, which are made by a formula.

use sit_tests::inception::official_file;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1);
    let path = path.ok_or("usage: peer-fidelity WEIGHTS.safetensors")?;
    std::fs::write(path, official_file())?;
    Ok(())
}
