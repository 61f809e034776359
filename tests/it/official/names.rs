//! Networks under other names than the official ones: the DiT of diffusers, and REPA's SiT.

use super::{Bench, CPU, gpu_bench};
use sit_engine::checkpoint::{Names, Reader};
use sit_engine::model::{Dit, ModelConfig};
use sit_engine::nn::ParamSpec;
use sit_tests::fixture::{Entry, Fixture};
use sit_tests::net::{self, Weights};
use sit_tests::{assert_close, official};
use std::cell::RefCell;
use std::io::Cursor;

type File = Reader<Cursor<Vec<u8>>>;

/// Weights as a file has them.
struct Stored(RefCell<File>);

impl Weights for Stored {
    fn values(&self, _: usize, spec: &ParamSpec) -> Vec<f32> {
        self.0.borrow_mut().read_param(spec).unwrap()
    }
}

fn dit(model: ModelConfig) -> Dit {
    match model {
        ModelConfig::Dit(dit) => dit,
        other => panic!("{other}"),
    }
}

/// The output for the formula of x at given times.
fn output(bench: &Bench, root: &Entry, model: &Dit, weights: Stored, t: &[f32]) -> Vec<f32> {
    let note = root.at("note").text();
    let x = sit_tests::formula::Formula::labelled(note, "x[flat i]");
    let pixels = model.channels * model.input_size.pow(2);
    let mut program = net::network(bench.device, model, t.len(), &weights);
    program.write("x", &x.values(t.len() * pixels)).unwrap();
    program.write("t", t).unwrap();
    program.write_u32("y", &root.at("y").labels()).unwrap();
    net::run(&mut program, "out")
}

/// The first half of the channels of images of 2C channels.
fn first_half(values: &[f32], batch: usize) -> Vec<f32> {
    let images = values.chunks(values.len() / batch);
    images
        .flat_map(|image| image[..image.len() / 2].to_vec())
        .collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (apart / b.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

fn of_diffusers(bench: &Bench) {
    let fixture = Fixture::open("diffusers_dit");
    let root = fixture.root();
    let file = fixture.file("diffusers_dit/diffusion_pytorch_model.safetensors");
    let mut file = Reader::new("file", Cursor::new(file)).unwrap();
    assert_eq!(file.names(), Names::Diffusers);
    let error = file.model(Some(2), None).unwrap_err().to_string();
    assert!(error.contains("`input_size`"), "{error}");
    let json = fixture.file("diffusers_dit/config.json");
    file.configure(&String::from_utf8(json).unwrap()).unwrap();
    let model = dit(file.model(None, None).unwrap());
    assert_eq!(
        (model.n_heads, model.input_size, model.n_classes),
        (2, 8, 3)
    );
    let t = root.at("t").floats();
    let weights = Stored(RefCell::new(file));
    let got = output(bench, &root, &model, weights, &t);
    let want = first_half(&root.at("official").floats(), t.len());
    assert_close("diffusers", &got, &want, bench.tensor);

    // As diffusers ships, it is another network: by this much, at these times.
    let (official, own) = (root.at("official").floats(), root.at("own").floats());
    let n = own.len() / t.len();
    let stated = root.at("distance").at("own").numbers();
    for (i, stated) in stated.into_iter().enumerate() {
        let apart = distance(&own[i * n..][..n], &official[i * n..][..n]);
        assert!((apart - stated).abs() < 1e-4, "{i}: {apart} {stated}");
    }
}

/// The opposite velocity at the time from the other end.
fn of_repa(bench: &Bench) {
    let fixture = Fixture::open("repa");
    let root = fixture.root();
    let mut file = Reader::new("file", Cursor::new(fixture.file("repa/repa.pt"))).unwrap();
    assert_eq!(file.sets().collect::<Vec<_>>(), ["ema", "model"]);
    let model = dit(file.model(Some(2), None).unwrap());
    assert!(!model.learn_sigma);
    for set in ["model", "ema"] {
        file.select(set).unwrap();
        assert!(file.is_reversed(), "{set}");
        assert_eq!(file.n_left_out(), root.at("projectors").count(), "{set}");
        file.check(&model).unwrap();
    }
    let t: Vec<f32> = root.at("t").floats().iter().map(|t| 1.0 - t).collect();
    let got = output(bench, &root, &model, Stored(RefCell::new(file)), &t);
    let want: Vec<f32> = root.at("v").floats().iter().map(|v| -v).collect();
    assert_close("REPA", &got, &want, bench.tensor);
}

#[test]
fn networks_under_other_names_on_the_cpu() {
    of_diffusers(&CPU);
    of_repa(&CPU);
}

#[test]
fn networks_under_other_names_on_the_gpu() {
    of_diffusers(&gpu_bench());
    of_repa(&gpu_bench());
}

/// The weights of both files are those of the formula; all that reading changes is in the tensors that it must change.
#[test]
fn tensors_of_repa_are_changed_where_time_and_velocity_are() {
    let fixture = Fixture::open("repa");
    let mut file = Reader::new("file", Cursor::new(fixture.file("repa/repa.pt"))).unwrap();
    let model = dit(file.model(Some(2), None).unwrap());
    let root = fixture.root();
    let formula = official::weights(&root);
    for (k, (name, shape, _)) in net::params(&model, &formula).enumerate() {
        let got = file.read(&name).unwrap();
        // The projectors come before the last layer.
        let k = match name.starts_with("final_layer.") {
            true => k + root.at("projectors").count(),
            false => k,
        };
        let formula = formula.with("k", k as f64).values(shape.numel());
        let sign = match &name[..] {
            "t_embedder.mlp.0.weight" => continue,
            "final_layer.linear.weight" | "final_layer.linear.bias" => -1.0,
            _ => 1.0,
        };
        let want: Vec<f32> = formula.iter().map(|x| sign * x).collect();
        assert_close(&name, &got, &want, 1e-6);
    }
}
