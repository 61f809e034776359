//! This side of `cargo xtask bench --peers torchdiffeq`: `peer-solvers FILE.safetensors EXCHANGE.safetensors N`.
//!
//! Opens exported weights and writes them with the noise and labels of N images for the other side. Then it samples the images for
//! each line of standard input, which names a method of the ODE, a batch size and how many of them, and answers with the time and the
//! evaluations.

use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::model::Model;
use sit_engine::sample::initial_noise;
use sit_engine::transport::{Method, Ode, Sampler, Tolerance};
use std::error::Error;
use std::fs::File;
use std::io::BufRead;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEED: u64 = 0;
/// Steps of methods that do not choose them.
const STEPS: u32 = 10;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, weights, exchange, n] = &args[..] else {
        return Err("usage: peer-solvers FILE.safetensors EXCHANGE.safetensors N".into());
    };
    let n: usize = n.parse()?;
    let mut file = Reader::new(weights, File::open(weights)?)?;
    let recipe = file
        .recipe()?
        .ok_or("the file does not say what it is; sit convert writes one that does")?;
    let model = Model::zeros(&Device::Cpu, recipe.model.clone(), recipe.transport)?;
    file.load(&model)?;
    let io = model.io();
    let mut x = vec![0.0; n * io.image_len()];
    initial_noise(&io, SEED, 0, &mut x);
    let y: Vec<u32> = (0..n).map(|i| (i % io.n_classes.max(1)) as u32).collect();
    write(exchange, &model, &x, &y)?;
    println!(
        "{}",
        json!({ "version": "this engine on the CPU", "model": recipe.model, "image": io.image })
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let [method, batch, count] = line.trim().split(' ').collect::<Vec<_>>()[..] else {
            return Err("expected METHOD BATCH COUNT".into());
        };
        let count: usize = count.parse()?;
        let (x, y) = (&x[..count * io.image_len()], &y[..count]);
        let (end, nfe, took) = sample(&model, method.parse()?, batch.parse()?, x, y)?;
        let ms = took.as_secs_f64() * 1e3;
        let mean = end.iter().map(|x| f64::from(x.abs())).sum::<f64>() / end.len() as f64;
        println!(
            "{}",
            json!({ "ms": ms, "nfe": nfe, "mean": mean, "peak_mib": 0.0 })
        );
    }
    Ok(())
}

/// The images, the mean number of evaluations of one, and the time that they took with the programs made.
fn sample(
    model: &Model,
    method: Method,
    batch: usize,
    x: &[f32],
    y: &[u32],
) -> Result<(Vec<f32>, f64, Duration)> {
    let (n, len) = (y.len(), model.io().image_len());
    let sampler: Sampler = Ode {
        method,
        n_steps: STEPS,
        tolerance: Tolerance::default(),
        ..Ode::default()
    }
    .into();
    let is_adaptive = sampler.is_adaptive();
    let sampling = model.sampler(sampler).batch(batch).seed(SEED);
    let (mut end, mut nfe) = (vec![0.0; n * len], 0.0);
    let start;
    if is_adaptive {
        let mut pool = sampling.pool()?;
        let mut next = 0;
        start = Instant::now();
        while next < n || !pool.is_empty() {
            let until = n.min(next + pool.room());
            let numbers: Vec<u64> = (next as u64..until as u64).collect();
            pool.add_from(&numbers, &x[next * len..until * len], &y[next..until])?;
            next = until;
            for image in pool.step()? {
                end[image.number as usize * len..][..len].copy_from_slice(&image.x);
                nfe += f64::from(image.nfe) / n as f64;
            }
        }
    } else {
        let mut session = sampling.session()?;
        nfe = sit_engine::transport::nfe(session.steps()) as f64;
        start = Instant::now();
        for first in (0..n).step_by(batch) {
            let part = first..first + batch;
            let (x, end) = (
                &x[first * len..][..batch * len],
                &mut end[first * len..][..batch * len],
            );
            session.start_at(0, x, &y[part])?;
            while !session.is_over() {
                session.step()?;
            }
            end.copy_from_slice(&session.read()?[..batch * len]);
        }
    }
    Ok((end, nfe, start.elapsed()))
}

fn write(path: &str, model: &Model, x: &[f32], y: &[u32]) -> Result<()> {
    let mut tensors = Vec::new();
    for entry in model.layout().entries() {
        let values = model.read(&entry.name)?;
        tensors.push((entry.name.clone(), entry.shape.to_vec(), bytes(&values)));
    }
    let [c, h, w] = model.io().image;
    tensors.push(("x".into(), vec![y.len(), c, h, w], bytes(x)));
    let labels: Vec<f32> = y.iter().map(|&y| y as f32).collect();
    tensors.push(("y".into(), vec![y.len()], bytes(&labels)));
    let views = tensors
        .iter()
        .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize_to_file(views, None, path.as_ref())?;
    Ok(())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
