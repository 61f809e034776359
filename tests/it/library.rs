//! What the library refuses of an embedder, in which words, and what stays as it was.

use sit_engine::Result;
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Precision, Recipe};
use sit_engine::graph::{Graph, Var};
use sit_engine::model::{Dit, Inputs, Model, Network, NetworkIo, Outputs};
use sit_engine::nn::{Init, Scope};
use sit_engine::objective::{Batch, Net, Objective, Port, Ports, SampleKey};
use sit_engine::ops::{loss, pointwise, reduce};
use sit_engine::sample::Session;
use sit_engine::train::{Trainer, Weights};
use sit_engine::transport::{Method, Prediction, Sampler, Step, Tableau, Transport};
use sit_tests::net::TINY;

fn refusal<T>(done: Result<T>) -> String {
    match done {
        Ok(_) => panic!("it is refused"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn assert_refused<T>(done: Result<T>, parts: &[&str]) {
    let message = refusal(done);
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn tableaus_that_are_no_methods_are_refused() {
    let transport = Transport::default();
    let step =
        |tableau: Tableau| Step::runge_kutta(&tableau, [0.0, 0.5], 0.0, |t| transport.velocity(t));
    let good = Tableau::HEUN;
    step(good).unwrap();
    const EIGHT: &[f64] = &[0.0; 8];
    const NONE: &[&[f64]] = &[&[] as &[f64]; 8];
    let first = Tableau {
        nodes: &[0.5, 1.0],
        ..good
    };
    let long = Tableau {
        nodes: EIGHT,
        stages: NONE,
        weights: EIGHT,
        error: None,
    };
    for (tableau, parts) in [
        (first, ["2 nodes", "the first of them 0"]),
        (long, ["8 nodes", "1 to 7"]),
        (Tableau { nodes: &[], ..good }, ["0 nodes", "1 to 7"]),
        (
            Tableau {
                stages: &[&[]],
                ..good
            },
            ["got 1 stages", "expected 2 of each"],
        ),
        (
            Tableau {
                weights: &[1.0],
                ..good
            },
            ["1 weights", "expected 2 of each"],
        ),
        (
            Tableau {
                error: Some(&[]),
                ..good
            },
            ["0 of the error", "expected 2 of each"],
        ),
        (
            Tableau {
                stages: &[&[], &[0.5, 0.5]],
                ..good
            },
            ["stage 1 reads 2", "at most 1"],
        ),
    ] {
        assert_refused(step(tableau), &parts);
    }
}

#[test]
fn a_step_that_fails_is_as_if_it_had_not_begun() {
    let build = || {
        let training = Trainer::builder(TINY).batch(2).accumulate(2);
        training.build(&Device::Cpu).unwrap()
    };
    let (mut trainer, mut untouched) = (build(), build());
    let len = trainer.io().image_len();
    let images: Vec<f32> = (0..4 * len).map(|i| (i as f32).sin()).collect();
    let labels = [0, 1, 2, 0];
    for rate in [f64::NAN, f64::INFINITY, -1.0] {
        let got = format!("learning_rate: got {rate}");
        assert_refused(trainer.step(&images, &labels, rate), &[&got]);
    }
    let few = trainer.step(&images, &labels[..2], 1e-2);
    assert_refused(few, &["y got 2 labels", "expected 4"]);
    // The first of the two batches is done by then.
    assert_refused(trainer.step(&images, &[0, 1, 2, 99], 1e-2), &["class 99"]);
    assert_eq!(trainer.n_images(), 0);
    let losses =
        [&mut trainer, &mut untouched].map(|t| t.step(&images, &labels, 1e-2).unwrap().loss);
    assert_eq!(losses[0], losses[1]);
    assert_eq!(trainer.n_images(), 4);
    // A step of one's own batches is not mixed with another.
    let batch = Batch::new(&images[..2 * len], &labels[..2], 4);
    trainer.accumulate(batch).unwrap();
    assert_refused(
        trainer.step(&images, &labels, 1e-2),
        &["a step is under way"],
    );
    trainer.accumulate(batch).unwrap();
    trainer.update(1e-2).unwrap();
}

#[test]
fn sessions_check_their_steps_and_drop_pushed_ones() {
    let transport = Transport::default();
    let model = Model::init(&Device::Cpu, TINY, transport.clone(), 0).unwrap();
    let step = |t: f64, t_next: f64| {
        let velocity = |t| transport.velocity(t);
        Step::runge_kutta(&Tableau::HEUN, [t, t_next], 0.0, velocity).unwrap()
    };
    let session = |steps: Vec<Step>| -> Result<Session> {
        let sampling = model.sampler(Sampler::ode(Method::Euler, 1));
        sampling.batch(1).session_of(steps)
    };
    assert_refused(session(vec![]), &["at least one step"]);
    let gap = session(vec![step(0.0, 0.5), step(0.6, 1.0)]);
    assert_refused(gap, &["ends at t = 0.5", "starts at t = 0.6"]);

    let mut session = session(vec![step(0.0, 0.5)]).unwrap();
    session.start(0, &[0], &[1]).unwrap();
    session.step().unwrap();
    assert_refused(session.push(step(0.6, 1.0)), &["0.6", "expected 0.5"]);
    session.push(step(0.5, 1.0)).unwrap();
    session.step().unwrap();
    assert!(session.is_over() && session.t() == 1.0);
    // A start that fails leaves all as it was, one that does not begins with the first steps again.
    assert_refused(
        session.start_from(0, &[0], &[0.0], &[1]),
        &["x got 1 values"],
    );
    assert!(session.is_over() && session.t() == 1.0);
    session.start(0, &[0], &[1]).unwrap();
    session.step().unwrap();
    assert!(session.is_over() && session.t() == 0.5);
}

const X: Port<f32> = Port::new("x");

/// What an objective makes of the squares of its input.
#[derive(Debug)]
enum Wrong {
    PortTwice,
    Mean,
}

impl Objective for Wrong {
    fn validate(&self, _: &NetworkIo) -> Result<()> {
        Ok(())
    }

    fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var> {
        let images = net.io().images(ports.batch());
        let x = ports.input(g, X, images)?;
        let t = ports.input(g, Port::<f32>::new("t"), [ports.batch()])?;
        let y = ports.input(g, Port::<u32>::new("y"), [ports.batch()])?;
        if let Wrong::PortTwice = self {
            ports.input(g, Port::<u32>::new("x"), [1])?;
        }
        let out = net.forward(g, Inputs::new(x, t, Some(y)))?.out;
        let coef = g.constant(1.0, [ports.batch(), 4]);
        let each = loss::loss(g, out, x, x, coef)?;
        reduce::mean(g, each, &[0])
    }

    fn draw(&self, _: SampleKey, _: &Batch<'_>, _: &mut Ports) -> Result<()> {
        Ok(())
    }
}

/// A network that scales its input, and reads neither time nor label; or one whose output has another shape.
#[derive(Debug)]
struct Scale {
    is_flat: bool,
}

impl Network for Scale {
    fn io(&self) -> NetworkIo {
        NetworkIo::new([1, 2, 2], 2)
    }

    fn validate(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        let scale = s.param("scale", [1, 1, 2, 2], Init::Ones)?;
        let g = s.graph();
        let shape = g.shape(inputs.x).clone();
        let scale = reduce::broadcast(g, scale, shape.clone())?;
        let out = pointwise::mul(g, inputs.x, scale)?;
        let out = match self.is_flat {
            true => g.reshape(out, [shape[0], 4])?,
            false => out,
        };
        Ok(Outputs::new(out))
    }
}

#[test]
fn objectives_and_networks_are_checked_when_they_are_built() {
    let build = |objective| {
        let training = Trainer::builder(TINY).objective(objective).batch(2);
        training.build(&Device::Cpu)
    };
    assert_refused(build(Wrong::PortTwice), &["declares x twice"]);
    assert_refused(build(Wrong::Mean), &["loss is [1]", "expected [2]"]);
    let flat = Trainer::builder(Scale { is_flat: true }).batch(3);
    let flat = flat.build(&Device::Cpu);
    assert_refused(flat, &["output is [3, 4]", "expected [3, 1, 2, 2]"]);

    let scale = Trainer::builder(Scale { is_flat: false }).batch(2);
    let mut trainer = scale.build(&Device::Cpu).unwrap();
    let loss = |trainer: &mut Trainer| trainer.step(&[0.5; 8], &[0, 1], 1e-2).unwrap().loss;
    assert!(loss(&mut trainer).is_finite());
    let sampler = Sampler::ode(Method::Heun, 3);
    let sampling = trainer.model(Weights::Trained).sampler(sampler);
    assert_eq!(sampling.guidance(2.0).sample(&[0, 1]).unwrap().len(), 8);
}

#[test]
fn recipes_of_other_models_are_refused_and_none_is_needed() {
    let transport = Transport::default();
    let model = Model::init(&Device::Cpu, TINY, transport.clone(), 0).unwrap();
    let save = |recipe: Option<&Recipe>, precision| -> Result<Vec<u8>> {
        let mut file = Vec::new();
        model.save(&mut file, recipe, precision).map(|()| file)
    };
    let deeper = Dit {
        depth: TINY.depth + 1,
        ..TINY
    };
    let other = Transport {
        prediction: Prediction::Data,
        ..transport.clone()
    };
    let own = Recipe::new(TINY, transport.clone());
    for (recipe, part) in [
        (Recipe::new(deeper, transport), "other tensors"),
        (Recipe::new(TINY, other), "Data"),
    ] {
        assert_refused(save(Some(&recipe), Precision::F32), &["the recipe", part]);
    }
    let known = save(Some(&own), Precision::F32).unwrap();
    let bare = save(None, Precision::F32).unwrap();
    assert!(bare.len() < known.len() && known.ends_with(&bare[bare.len() - 64..]));

    // The smallest number of f16 is 2^-24. Biases may round to zeros, a matrix of zeros could not be read again.
    let (weight, bias) = ("blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias");
    let n = TINY.dim;
    model.write(bias, &vec![1e-9; 3 * n]).unwrap();
    save(Some(&own), Precision::F16).unwrap();
    model
        .write(weight, &vec![2.0_f32.powi(-17); 3 * n * n])
        .unwrap();
    save(Some(&own), Precision::F16).unwrap();
    model.write(weight, &vec![1e-9; 3 * n * n]).unwrap();
    assert_refused(save(Some(&own), Precision::F16), &[weight, "write f32"]);
}
