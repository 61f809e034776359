//! Your own loop over the steps of an SDE, with access to every state: `cargo run --release -p sit-engine --example live_loop`.
//!
//! The session runs one step per call. Between calls you may draw the state, or stop.

use sit_engine::backend::Device;
use sit_engine::model::{Dit, Model};
use sit_engine::transport::{Diffusion, Sampler, SdeMethod, Transport};

fn main() -> sit_engine::Result<()> {
    let network = Dit {
        input_size: 8,
        channels: 1,
        dim: 64,
        depth: 2,
        n_heads: 2,
        ..Dit::preset("SiT-S/2").expect("a published size")
    };
    let model = Model::init(&Device::Cpu, network, Transport::default(), 0)?;
    // An untrained model outputs 0, so give its last layer a bias: for 2x2 pixels, a channel and its sigma.
    model.write("final_layer.linear.bias", &[0.5; 8])?;
    let sampler = Sampler::sde(SdeMethod::Heun, Diffusion::default(), 12);
    let mut session = model.sampler(sampler).batch(4).keep_out().session()?;

    // Images number 0 to 3 of seed 7; they are the same in every batch.
    session.start(7, &[0, 1, 2, 3], &[1, 1, 2, 2])?;
    while !session.is_over() {
        let t = session.t();
        session.step()?;
        let (state, velocity) = (session.read()?, session.read_out()?);
        let rms = |x: &[f32]| (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt();
        println!(
            "velocity {:.3} at t = {t:.3}, then state {:.3} at t = {:.3}",
            rms(&velocity),
            rms(&state),
            session.t()
        );
    }
    Ok(())
}
