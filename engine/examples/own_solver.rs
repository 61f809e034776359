//! A sampler for an ODE method that the engine does not have: `cargo run --release -p sit-engine --example own_solver`.
//!
//! Ralston's third-order method is given by its tableau. The engine builds the steps from it for every path and prediction, and
//! runs them on every device; here they are also compared with the exact flow of a Gaussian mixture.

use sit_engine::analytic::{Points, Toy};
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
    let transport = Transport::default();
    let mixture = Toy::TwoGaussians.mixture().expect("its field is known");
    let end = |steps: &[Step]| {
        let mut x: Vec<f64> = vec![0.3, -0.8];
        steps
            .iter()
            .for_each(|step| mixture.step(&transport, step, &mut x, &[]));
        x
    };
    let exact = end(&ralston(&transport, 4000)?);
    for n in [10, 20, 40] {
        let x = end(&ralston(&transport, n)?);
        println!(
            "{n} steps: error {:.1e}",
            (x[0] - exact[0]).hypot(x[1] - exact[1])
        );
    }

    // The same steps with a network on a device.
    let network = Dit {
        dim: 64,
        depth: 1,
        n_heads: 2,
        ..Dit::preset("SiT-S/8").unwrap()
    };
    let model = Model::init(&Device::Cpu, network, transport, 0)?;
    let sampling = model.sampler(Sampler::ode(Method::Euler, 1)).batch(1);
    let mut session = sampling.session_of(ralston(&transport, 4)?)?;
    session.start(0, &[0], &[207])?;
    while !session.is_over() {
        session.step()?;
    }
    println!("{} values", session.read()?.len());
    Ok(())
}
