//! Your own loop over the steps of an SDE, with access to every state: `cargo run --release -p sit-engine --example live_loop`.
//!
//! The session runs one step per call. Between calls you may draw the state, stop, or change it.

use sit_engine::backend::Device;
use sit_engine::model::{Dit, Model};
use sit_engine::transport::{Diffusion, Method, Sampler, Transport};

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
    // An untrained model outputs 0, so give its last layer a bias.
    let name = "final_layer.linear.bias";
    let n = model
        .layout()
        .get(name)
        .map_or(0, |bias| bias.shape.numel());
    model.write(name, &vec![0.5; n])?;
    let sampler = Sampler::sde(Method::Heun, Diffusion::default(), 12);
    let mut session = model.sampler(sampler).batch(4).keep_out().session()?;

    // Images number 0 to 3 of seed 7; they are the same in every batch.
    session.start(7, &[0, 1, 2, 3], &[1, 1, 2, 2])?;
    while !session.is_over() {
        session.step()?;
        let [state, velocity] = session.read_both()?;
        let rms = |x: &[f32]| (x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32).sqrt();
        println!(
            "t = {:.3}: state {:.3}, velocity {:.3}",
            session.t(),
            rms(&state),
            rms(&velocity)
        );
    }
    Ok(())
}
