//! This side of `cargo xtask bench --peers`: `peer SIZES.json EXCHANGE.safetensors cpu|gpu`.
//!
//! Writes weights, inputs and the output of a forward for the other side to check. Then it does one training step or one forward
//! for each line of standard input, and answers with the time. The two sides never work at the same time.

mod conv;
mod peak;

use peak::peak_mib;
use safetensors::{Dtype, tensor::TensorView};
use serde::Deserialize;
use serde_json::json;
use sit_engine::backend::{Choice, Device, Program};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Graph, Plan, SetId};
use sit_engine::model::{Dit, Inputs, Model, ModelConfig, Network, Unet};
use sit_engine::nn::Params;
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::train::{Trainer, Weights};
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

/// What to run.
#[derive(Deserialize)]
struct Sizes {
    #[serde(flatten)]
    network: Sized,
    batch: usize,
}

/// A family with its sizes, by their names here; or a convolution alone.
#[derive(Deserialize)]
#[serde(tag = "family", content = "model", rename_all = "lowercase")]
enum Sized {
    Dit(Dit),
    Unet(Unet),
    Conv(conv::Sizes),
}

const SEED: u64 = 0;
const LEARNING_RATE: f64 = 1e-4;

type Done<T> = Result<T, Box<dyn Error>>;

fn main() -> Done<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, sizes, exchange, backend] = &args[..] else {
        return Err("usage: peer SIZES.json EXCHANGE.safetensors cpu|gpu".into());
    };
    let Sizes { network, batch } = serde_json::from_slice(&std::fs::read(sizes)?)?;
    let device = Device::open(backend.parse::<Choice>()?)?;
    let model = match network {
        Sized::Dit(dit) => ModelConfig::Dit(dit),
        Sized::Unet(unet) => ModelConfig::Unet(unet),
        Sized::Conv(sizes) => return conv::run(&sizes, batch, &device, Path::new(exchange)),
    };
    let training = Trainer::builder(model.clone()).batch(batch).seed(SEED);
    let forecast = training.forecast(device.max_segment_bytes())?;
    let mut trainer = training.build(&device)?;
    let params = weights(&trainer)?;
    let mut x = vec![0.0; batch * model.io().image_len()];
    fill_normal(SEED, Stream::Noise, 1, 0, &mut x);
    let t: Vec<f32> = (0..batch)
        .map(|b| (b as f32 + 0.5) / batch as f32)
        .collect();
    let y: Vec<u32> = (0..batch)
        .map(|b| (b % model.io().n_classes) as u32)
        .collect();

    let mut forward = forward(&device, &model, &trainer.model(Weights::Trained), batch)?;
    forward.write("x", &x)?;
    forward.write("t", &t)?;
    forward.write_u32("y", &y)?;
    forward.run()?;
    let out = pollster::block_on(forward.read("out"))?;
    let image = model.io().images(batch).to_vec();
    let mut tensors = params;
    tensors.push(("x".into(), image.clone(), bytes(&x, |x| x.to_le_bytes())));
    tensors.push(("t".into(), vec![batch], bytes(&t, |t| t.to_le_bytes())));
    let labels: Vec<f32> = y.iter().map(|&y| y as f32).collect();
    tensors.push(("y".into(), vec![batch], bytes(&labels, |y| y.to_le_bytes())));
    tensors.push(("out".into(), image, bytes(&out, |x| x.to_le_bytes())));
    write(Path::new(exchange), &tensors)?;
    drop(tensors);

    println!(
        "{}",
        json!({
            "version": format!("this engine on {device}"),
            "train_macs": trainer.macs(),
            "forward_macs": forward.plan().macs(),
            "forecast_bytes": forecast.iter().map(|(_, bytes)| bytes).sum::<u64>(),
            "allocated_bytes": trainer.bytes(),
        })
    );
    answer(|work| {
        match work {
            "forward" => {
                forward.run()?;
                pollster::block_on(forward.read("out"))?;
            }
            "train" => {
                trainer.step(&x, &y, LEARNING_RATE)?;
            }
            other => return Err(format!("{other:?}, expected train or forward").into()),
        }
        Ok(())
    })
}

/// Does the work that each line of standard input names, and prints the time that it took.
fn answer(mut work: impl FnMut(&str) -> Done<()>) -> Done<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let start = Instant::now();
        work(line.trim())?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        println!("{}", json!({ "ms": ms, "peak_mib": peak_mib()? }));
    }
    Ok(())
}

/// Name, shape and bytes of a tensor.
type Tensor = (String, Vec<usize>, Vec<u8>);

/// Fills the parameters with small normal numbers (the initial ones make every output 0) and returns them.
fn weights(trainer: &Trainer) -> Done<Vec<Tensor>> {
    let mut tensors = Vec::new();
    for (index, entry) in trainer.layout().entries().iter().enumerate() {
        let mut values = vec![0.0; entry.shape.numel()];
        fill_normal(SEED, Stream::Init, index as u32, 0, &mut values);
        values.iter_mut().for_each(|x| *x *= 0.05);
        trainer
            .model(Weights::Trained)
            .write(&entry.name, &values)?;
        let bytes = bytes(&values, |x| x.to_le_bytes());
        tensors.push((entry.name.clone(), entry.shape.to_vec(), bytes));
    }
    Ok(tensors)
}

/// The forward of sampling: nothing is kept for a backward.
fn forward(
    device: &Device,
    network: &dyn Network,
    model: &Model,
    batch: usize,
) -> sit_engine::Result<Program> {
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let x = g.input("x", model.io().images(batch));
    let (t, y) = (g.input("t", [batch]), Some(g.input_u32("y", [batch])));
    let inputs = Inputs::new(x, t, y);
    let out = network.forward(&mut params.scope(&mut g), inputs)?.out;
    let request = Request {
        outputs: vec![("out".into(), out)],
        ..Request::default()
    };
    let plan = Plan::new(&g, &request, &[model.layout()])?;
    device.program(plan, &[model.arenas()])
}

fn bytes<T: Copy>(values: &[T], le: impl Fn(T) -> [u8; 4]) -> Vec<u8> {
    values.iter().flat_map(|&x| le(x)).collect()
}

fn write(path: &Path, tensors: &[Tensor]) -> Done<()> {
    let views = tensors
        .iter()
        .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<Done<Vec<_>>>()?;
    safetensors::serialize_to_file(views, None, path)?;
    Ok(())
}
