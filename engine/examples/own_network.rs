//! A network of your own: `cargo run --release -p sit-engine --example own_network`.
//!
//! An MLP on points in the plane, conditioned on time. It declares its parameters where it uses them; training, sampling, memory
//! forecasts and files then work as for a transformer.

use sit_engine::backend::Device;
use sit_engine::checkpoint::{Precision, Reader};
use sit_engine::model::{Inputs, Model, Network, NetworkIo, Outputs};
use sit_engine::nn::{Init, Linear, Scope, TimeEmbed};
use sit_engine::ops::pointwise;
use sit_engine::train::{Trainer, Weights};
use sit_engine::transport::{Method, Sampler, Transport};
use sit_engine::{Error, Result};
use std::io::Cursor;

#[derive(Clone, Debug)]
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

/// Points that are spread over a circle of radius 0.8.
fn ring(i: u32) -> [f32; 2] {
    let angle = (i as f32 * 0.618_034).fract() * std::f32::consts::TAU;
    [0.8 * angle.cos(), 0.8 * angle.sin()]
}

fn main() -> Result<()> {
    let network = PointMlp {
        width: 64,
        depth: 3,
    };
    let mut trainer = Trainer::builder(network.clone())
        .batch(256)
        .build(&Device::Cpu)?;
    println!("{} parameters", trainer.n_params());
    for step in 0..400 {
        let x1: Vec<f32> = (0..256).flat_map(|i| ring(256 * step + i)).collect();
        let report = trainer.step(&x1, &[], 2e-3)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.3}", report.loss);
        }
    }
    let sampler = Sampler::ode(Method::Rk4, 10);
    let model = trainer.model(Weights::Trained);
    let points = model.sampler(sampler.clone()).sample(&[0; 8])?;
    for point in points.chunks(2) {
        let radius = point[0].hypot(point[1]);
        println!("({:.2}, {:.2}), radius {radius:.2}", point[0], point[1]);
    }

    // No configuration names this network, so its file has no recipe: whoever reads it must know what it is.
    let mut file = Vec::new();
    model.save(&mut file, None, Precision::F32)?;
    let loaded = Model::zeros(&Device::Cpu, network, Transport::default())?;
    Reader::new("the file", Cursor::new(file))?.load(&loaded)?;
    assert!(loaded.sampler(sampler).sample(&[0; 8])? == points);
    Ok(())
}
