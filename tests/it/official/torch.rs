//! Reads what `torch.save` wrote, and compares it with the values in the file beside it.

use sit_engine::backend::Device;
use sit_engine::checkpoint::{Format, Reader};
use sit_engine::model::{Dit, Model};
use sit_engine::transport::Transport;
use sit_tests::fixture::{Entry, Fixture};
use sit_tests::formula::Formula;
use sit_tests::{assert_close, net, official};
use std::io::Cursor;

type File = Reader<Cursor<Vec<u8>>>;

/// Covers the sines of two libraries, and rounding to decimals.
const TOLERANCE: f64 = 1e-6;

fn reader(fixture: &Fixture, name: &str) -> File {
    Reader::new("file.pt", Cursor::new(fixture.file(name))).unwrap()
}

/// Loads the weights and compares them with the formula.
fn weights(file: &mut File, config: &Dit, formula: &Formula) {
    assert_eq!(
        file.model(Some(config.n_heads), None).unwrap(),
        (*config).into()
    );
    let model = Model::zeros(&Device::Cpu, *config, Transport::default()).unwrap();
    file.load(&model).unwrap();
    for (name, _, want) in net::params(config, formula) {
        let got = model.read(&name).unwrap();
        assert_close(&name, &got, &want, TOLERANCE);
    }
}

/// Weights in different containers: sets of a training, a file from before 1.6, files of each protocol, and of Lightning.
#[test]
fn weights_are_read_from_every_layout() {
    let fixture = Fixture::open("torch/files");
    let config = official::model(&fixture.root().at("config"));
    for (name, stated) in fixture.root().at("weights").entries() {
        let mut file = reader(&fixture, &format!("torch/{name}"));
        let format = match stated.at("layout").text() {
            "zip" => Format::Torch,
            "legacy" => Format::TorchLegacy,
            other => panic!("{name}: the layout {other} is not understood"),
        };
        assert_eq!(file.format(), format, "{name}");
        let sets = stated.get("sets").map_or(vec![], |sets| sets.entries());
        let names: Vec<&str> = sets.iter().map(|(set, _)| *set).collect();
        assert_eq!(file.sets().collect::<Vec<_>>(), names, "{name}");
        for (set, values) in &sets {
            file.select(set).unwrap();
            weights(&mut file, &config, &values.formula());
        }
        if sets.is_empty() {
            let place = stated.get("place").map(|place| place.text());
            assert_eq!(file.place(), place, "{name}");
            assert_eq!(file.n_left_out(), stated.at("left_out").count(), "{name}");
            weights(&mut file, &config, &stated.at("values").formula());
        }
    }
}

/// Every tensor has its shape and its values, and there are no other tensors.
fn contents(file: &mut File, stated: &Entry) {
    let tensors = stated.at("contents").entries();
    for (name, tensor) in &tensors {
        let shape = tensor.at("shape").counts();
        assert_eq!(file.shape(name).unwrap(), shape.into(), "{name}");
        let values = tensor.at("values").numbers();
        if tensor.at("dtype").text() != "int64" {
            assert_close(name, &file.read(name).unwrap(), &values, TOLERANCE);
        } else if values.iter().all(|&x| x >= 0.0) {
            assert_close(name, &file.read_labels(name).unwrap(), &values, 0.0);
        }
    }
    assert_eq!(file.tensors().count(), tensors.len());
}

#[test]
fn types_and_views_have_their_values_and_shapes() {
    let fixture = Fixture::open("torch/files");
    let mut file = reader(&fixture, "torch/views.pt");
    let stated = fixture.root().at("views.pt");
    contents(&mut file, &stated);
    assert_eq!(file.sets().count(), 0);
    for name in stated.at("no_tensors").list() {
        assert!(file.entry(name.text()).is_none(), "{}", name.text());
    }
}

/// Numbers that another program read from a file of PyTorch before 1.6.
#[test]
fn a_file_from_before_1_6_has_its_values_and_shapes() {
    let fixture = Fixture::open("torch_legacy");
    let mut file = reader(&fixture, "torch_legacy.pt");
    assert_eq!(file.format(), Format::TorchLegacy);
    contents(&mut file, &fixture.root());
}
