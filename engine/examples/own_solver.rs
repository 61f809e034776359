//! A sampler for an ODE method that the engine does not have: `cargo run --release -p sit-engine --example own_solver`.
//!
//! Ralston's third-order method is given by its tableau. The engine builds the steps from it for every path and prediction, and
//! runs them on every device; here they are also compared with an exact flow.

use sit_engine::backend::Device;
use sit_engine::model::{Dit, Model};
use sit_engine::transport::{Method, Sampler, Step, Tableau, Transport};

const RALSTON3: Tableau = Tableau {
    nodes: &[0.0, 0.5, 0.75],
    stages: &[&[], &[0.5], &[0.0, 0.75]],
    weights: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0],
    error: None,
};

/// `n` equal steps from noise to data.
fn ralston(transport: &Transport, n: u32) -> sit_engine::Result<Vec<Step>> {
    let t = |i: u32| f64::from(i) / f64::from(n);
    let step = |i| Step::runge_kutta(&RALSTON3, [t(i), t(i + 1)], 0.0, |t| transport.velocity(t));
    (0..n).map(step).collect()
}

fn main() -> sit_engine::Result<()> {
    // Data with the distribution N(0, 0.2^2): x_t has the variance (1 - t)^2 + (0.2 t)^2, and the flow scales every point with its root.
    let transport = Transport::default();
    let variance = |t: f64| (1.0 - t).powi(2) + (0.2 * t).powi(2);
    let velocity = |x: &[f64], t: f64| vec![x[0] * (1.04 * t - 1.0) / variance(t)];
    let start = 1.5;
    let exact = start * (variance(1.0) / variance(0.0)).sqrt();
    for n in [20, 40, 80] {
        let mut x = [start];
        for step in ralston(&transport, n)? {
            step.apply(&mut x, &[], velocity);
        }
        println!("{n} steps: error {:.1e}", (x[0] - exact).abs());
    }

    // The same steps with a network on a device.
    let network = Dit {
        dim: 64,
        depth: 1,
        n_heads: 2,
        ..Dit::preset("SiT-S/8").unwrap()
    };
    let model = Model::init(&Device::Cpu, network, transport.clone(), 0)?;
    // A session of your own steps does not use the sampler.
    let sampling = model.sampler(Sampler::ode(Method::Euler, 1)).batch(1);
    let mut session = sampling.session_of(ralston(&transport, 4)?)?;
    session.start(0, &[0], &[207])?;
    while !session.is_over() {
        session.step()?;
    }
    println!("{} values", session.read()?.len());
    Ok(())
}
