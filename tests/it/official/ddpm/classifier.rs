//! Guidance by a classifier: its logits, their gradient, and chains that it guides. The fixture's classifier is a small network of
//! convolutions, built here from layers.

use super::*;
use sit_engine::model::{Blueprint, Network, NetworkIo, Output, Outputs};
use sit_engine::nn::{Conv, Init, Linear, Scope};
use sit_engine::ops::{axes, cross_entropy, pointwise, reduce};
use sit_engine::transport::{DdpmSampler, Sampler};
use sit_tests::assert_close;

/// `fc(mean(silu(conv2(silu(conv1(x) + time([u, cos 3u]))))))` with u = t / 1000.
#[derive(Debug, Clone, Copy)]
struct Small {
    io: NetworkIo,
    widths: [usize; 2],
}

impl Network for Small {
    fn io(&self) -> NetworkIo {
        self.io
    }

    fn output(&self) -> Output {
        Output::Logits
    }

    fn validate(&self, _: usize) -> sit_engine::Result<()> {
        Ok(())
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> sit_engine::Result<Outputs> {
        let ([first, second], channels) = (self.widths, self.io.image[0]);
        let conv1 = Conv::new(s, "conv1", [first, channels, 3], 2, Init::Zeros)?;
        let time = Linear::new(s, "time", [first, 2], Init::Zeros)?;
        let conv2 = Conv::new(s, "conv2", [second, first, 3], 2, Init::Zeros)?;
        let fc = Linear::new(s, "fc", [self.io.n_classes, second], Init::Zeros)?;
        let g = s.graph();
        let batch = g.shape(inputs.x)[0];
        let u = pointwise::scale(g, inputs.t, 1e-3)?;
        let three = pointwise::scale(g, u, 3.0)?;
        let cos = pointwise::cos(g, three)?;
        let [u, cos] = [g.reshape(u, [batch, 1])?, g.reshape(cos, [batch, 1])?];
        let times = axes::concat(g, &[u, cos], 1)?;
        let times = time.forward(g, times)?;
        let x = axes::permute(g, inputs.x, &[0, 2, 3, 1])?;
        let h = conv1.forward(g, x)?;
        let shape = g.shape(h).clone();
        let times = g.reshape(times, [batch, 1, 1, first])?;
        let times = reduce::broadcast(g, times, shape)?;
        let h = pointwise::add(g, h, times)?;
        let h = pointwise::silu(g, h)?;
        let h = conv2.forward(g, h)?;
        let h = pointwise::silu(g, h)?;
        let h = reduce::mean(g, h, &[1, 2])?;
        let h = g.reshape(h, [batch, second])?;
        Ok(Outputs::new(fc.forward(g, h)?))
    }
}

/// The classifier of the fixture on a device, for the images of `official`.
fn classifier(fixture: &Fixture, reference: &Official, bench: &Bench) -> Model {
    let root = fixture.root();
    let shape = |name: &str| root.at("parameters").at(name).counts();
    let (conv1, conv2, fc) = (
        shape("conv1.weight"),
        shape("conv2.weight"),
        shape("fc.weight"),
    );
    let network = Small {
        io: NetworkIo::new(reference.model.io().image, fc[0]),
        widths: [conv1[0], conv2[0]],
    };
    let transport = transport(Ddpm::default(), "EPSILON");
    let model = Model::zeros(bench.device, network, transport).unwrap();
    let formula = official::weights(&root);
    let specs: Vec<_> = Blueprint::specs(&model).to_vec();
    for (k, spec) in specs.iter().enumerate() {
        assert_eq!(spec.shape[..], shape(&spec.name)[..], "{}", spec.name);
        let values = formula.with("k", k as f64).values(spec.shape.numel());
        model.write(&spec.name, &values).unwrap();
    }
    model
}

fn logits_and_gradient(bench: &Bench) {
    let (fixture, official) = (Fixture::open("classifier"), Official::open());
    let (root, arrays) = (fixture.root(), fixture.arrays());
    let model = classifier(&fixture, &official, bench);
    let (t, y) = (root.at("t").floats(), root.at("y").labels());
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let x = g.input("x", model.io().images(t.len()));
    let times = g.input("t", [t.len()]);
    let labels = g.input_u32("y", [t.len()]);
    let inputs = Inputs::new(x, times, Some(labels));
    let logits = model
        .network()
        .forward(&mut params.scope(&mut g), inputs)
        .unwrap()
        .out;
    let loss = cross_entropy::cross_entropy(&mut g, logits, labels).unwrap();
    let seed = g.constant(-1.0, [t.len()]);
    let gradient = g.backward(loss, seed, &[x]).unwrap()[0];
    let request = Request {
        outputs: vec![("logits".into(), logits), ("gradient".into(), gradient)],
        ..Request::default()
    };
    let plan = Plan::new(&g, &request, &[model.layout()]).unwrap();
    let mut program = bench.device.program(plan, &[model.arenas()]).unwrap();
    let formula = Formula::stated(root.at("x").text());
    let values = formula.values(t.len() * model.io().image_len());
    program.write("x", &values).unwrap();
    program.write("t", &t).unwrap();
    program.write_u32("y", &y).unwrap();
    program.run().unwrap();
    for name in ["logits", "gradient"] {
        let got = block_on(program.read(name)).unwrap();
        assert_close(name, &got, &arrays.get(name), bench.tensor);
    }
}

fn guided_chains(bench: &Bench) {
    let (fixture, official) = (Fixture::open("classifier"), Official::open());
    let (root, arrays) = (fixture.root(), fixture.arrays());
    let text = root.at("chains").text();
    let number = |before: &str| {
        let rest = &text[text.find(before).expect("stated") + before.len()..];
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        rest[..end].parse::<f64>().expect("a number")
    };
    let (scale, levels) = (number("cond_fn = "), number("respacing \""));
    let y = root.at("y").labels();
    for (name, sampler) in [
        ("chain.p", DdpmSampler::ancestral()),
        ("chain.ddim", DdpmSampler::ddim(0.0)),
    ] {
        let mut ddpm = Ddpm::default();
        ddpm.variance = Variance::LearnedRange;
        let model = official.model(bench.device, &transport(ddpm, "EPSILON"));
        let sampling = model.sampler(Sampler::Ddpm(DdpmSampler {
            respacing: Some(levels.to_string().parse().unwrap()),
            clip_x0: Some(1.0),
            ..sampler
        }));
        let guide = classifier(&fixture, &official, bench);
        let sampling = sampling.classifier_guidance(guide, scale).batch(y.len());
        let mut session = sampling.session().unwrap();
        let start = official.input("chain_start", y.len());
        let got = net::solve(&mut session, &start, &y, |s| {
            official.step_noise(s, y.len())
        });
        let gap = root.at("f32_f64").at(name).number();
        let tol = (5.0 * gap) * bench.loss / CPU.loss;
        let want = arrays.get(name);
        let apart = got.iter().zip(&want).map(|(a, b)| f64::from((a - b).abs()));
        let worst = apart.fold(0.0, f64::max);
        println!("{name}: {worst:.1e}, the reference's gap {gap:.1e}");
        assert!(worst <= tol, "{name}: {worst:.1e}, tolerance {tol:.1e}");
    }
}

#[test]
fn a_classifier_and_its_gradient_on_the_cpu() {
    logits_and_gradient(&CPU);
    guided_chains(&CPU);
}

#[test]
fn a_classifier_and_its_gradient_on_the_gpu() {
    logits_and_gradient(&gpu_bench());
    guided_chains(&gpu_bench());
}
