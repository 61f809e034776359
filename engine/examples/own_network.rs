//! A network of your own: `cargo run --release -p sit-engine --example own_network`.
//!
//! An MLP on points in the plane, conditioned on time. It declares its parameters where it uses them; training, sampling, memory
//! forecasts and files then work as for a transformer.

use sit_engine::analytic::{Points, Toy};
use sit_engine::backend::Device;
use sit_engine::model::{Inputs, Network, NetworkIo, Outputs};
use sit_engine::nn::{Init, Linear, Scope, TimeEmbed};
use sit_engine::ops::pointwise;
use sit_engine::train::{Trainer, Weights};
use sit_engine::transport::{Method, Sampler};
use sit_engine::{Error, Result};

#[derive(Debug)]
struct PointMlp {
    width: usize,
    depth: usize,
}

impl Network for PointMlp {
    /// A point is an image of two channels and one pixel.
    fn io(&self) -> NetworkIo {
        NetworkIo::new([2, 1, 1], 0)
    }

    fn validate(&self, _batch: usize) -> Result<()> {
        match self.width {
            1..=4096 => Ok(()),
            got => Err(Error::setting(
                "width",
                format!("got {got}, expected 1 to 4096"),
            )),
        }
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        let time = TimeEmbed::new(s, "t_embedder", self.width)?;
        let first = Linear::new(s, "first", [self.width, 2], Init::Xavier)?;
        let blocks = (0..self.depth)
            .map(|i| {
                Linear::new(
                    s,
                    &format!("blocks.{i}"),
                    [self.width, self.width],
                    Init::Xavier,
                )
            })
            .collect::<Result<Vec<_>>>()?;
        let last = Linear::new(s, "last", [2, self.width], Init::Zeros)?;

        let g = s.graph();
        let batch = g.shape(inputs.x)[0];
        let x = g.reshape(inputs.x, [batch, 2])?;
        let (mut h, c) = (first.forward(g, x)?, time.forward(g, inputs.t)?);
        for block in &blocks {
            let sum = pointwise::add(g, h, c)?;
            let branch = block.forward(g, sum)?;
            let branch = pointwise::silu(g, branch)?;
            h = pointwise::add(g, h, branch)?;
        }
        let out = last.forward(g, h)?;
        let out = g.reshape(out, [batch, 2, 1, 1])?;
        Ok(Outputs::new(out))
    }
}

fn main() -> Result<()> {
    let network = PointMlp {
        width: 64,
        depth: 3,
    };
    let mut trainer = Trainer::builder(network).batch(256).build(&Device::Cpu)?;
    println!("{} parameters", trainer.n_params());
    for step in 0..400 {
        let first = 256 * step;
        let points = Toy::Moons.points(0, first..first + 256);
        let x1: Vec<f32> = points.iter().flat_map(|point| point.x).collect();
        let report = trainer.step(&x1, &[], 2e-3)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.3}", report.loss);
        }
    }
    let sampler = Sampler::ode(Method::Rk4, 10);
    let points = trainer
        .model(Weights::Trained)
        .sampler(sampler)
        .sample(&[0; 8])?;
    for point in points.chunks(2) {
        println!("({:.2}, {:.2})", point[0], point[1]);
    }
    Ok(())
}
