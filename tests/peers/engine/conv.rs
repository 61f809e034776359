//! A convolution alone: its forward, and its forward with all gradients.

use crate::{Done, SEED, answer, bytes, write};
use serde::Deserialize;
use serde_json::json;
use sit_engine::backend::{Device, Program};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Graph, Plan};
use sit_engine::ops::conv::{Windows, conv};
use sit_engine::rng::{Stream, fill_normal};
use std::path::Path;

/// A kernel as high as wide, padded with half of itself.
#[derive(Deserialize)]
pub struct Sizes {
    input_size: usize,
    channels: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
}

pub fn run(sizes: &Sizes, batch: usize, device: &Device, exchange: &Path) -> Done<()> {
    let out_size = sizes.input_size.div_ceil(sizes.stride);
    let shapes = [
        (
            "x",
            vec![batch, sizes.input_size, sizes.input_size, sizes.channels],
        ),
        (
            "w",
            vec![sizes.outputs, sizes.kernel, sizes.kernel, sizes.channels],
        ),
        ("b", vec![sizes.outputs]),
        ("g", vec![batch, out_size, out_size, sizes.outputs]),
    ];
    let mut forward = program(sizes, &shapes, device, false)?;
    let mut both = program(sizes, &shapes, device, true)?;
    let mut tensors = Vec::new();
    for (index, (name, shape)) in shapes.iter().enumerate() {
        let mut values = vec![0.0; shape.iter().product()];
        fill_normal(SEED, Stream::Noise, index as u32, 0, &mut values);
        if *name != "g" {
            forward.write(name, &values)?;
        }
        both.write(name, &values)?;
        let bytes = bytes(&values, |x| x.to_le_bytes());
        tensors.push(((*name).to_owned(), shape.clone(), bytes));
    }
    forward.run()?;
    let out = pollster::block_on(forward.read("out"))?;
    let shape = shapes[3].1.clone();
    tensors.push(("out".into(), shape, bytes(&out, |x| x.to_le_bytes())));
    write(exchange, &tensors)?;
    drop(tensors);
    let about = json!({
        "version": format!("this engine on {device}"),
        "train_macs": both.plan().macs(),
        "forward_macs": forward.plan().macs(),
        "forecast_bytes": both.bytes(),
        "allocated_bytes": both.bytes(),
    });
    println!("{about}");
    answer(|work| match work {
        "forward" => Ok(forward.run()?),
        "train" => Ok(both.run()?),
        other => Err(format!("{other:?}, expected train or forward").into()),
    })
}

/// The convolution, with the gradients of the image, the weight and the bias if they are wanted.
fn program(
    sizes: &Sizes,
    shapes: &[(&str, Vec<usize>); 4],
    device: &Device,
    gradients: bool,
) -> Done<Program> {
    let mut g = Graph::new();
    let [x, w, b] = std::array::from_fn(|i| g.input(shapes[i].0, shapes[i].1.clone()));
    let windows = Windows::new(sizes.stride, sizes.kernel / 2);
    let y = conv(&mut g, x, w, Some(b), windows)?;
    let mut outputs = vec![("out".to_owned(), y)];
    if gradients {
        let seed = g.input("g", shapes[3].1.clone());
        let grads = g.backward(y, seed, &[x, w, b])?;
        let names = ["gx", "gw", "gb"].map(str::to_owned);
        outputs.extend(names.into_iter().zip(grads));
    }
    let request = Request {
        outputs,
        ..Request::default()
    };
    Ok(device.program(Plan::new(&g, &request, &[])?, &[])?)
}
