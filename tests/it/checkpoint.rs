//! Files of weights: what is read back, and errors that name what is wrong.

use safetensors::tensor::{Dtype, TensorView, serialize};
use sit_engine::Error;
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Averaged, Data, Mismatch, Precision, Reader, Recipe};
use sit_engine::model::{Condition, Dit, Model, ModelConfig};
use sit_engine::optim::Average;
use sit_engine::shape::Shape;
use sit_engine::table::Table;
use sit_engine::transport::{Path, Transport};
use sit_tests::net::{self, TINY, sine_weights};
use std::collections::BTreeMap;
use std::io::Cursor;

type File = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A file as another program would write it: official names, no metadata.
fn bare(config: &Dit) -> File {
    let weights = sine_weights(0.1);
    let params = net::params(config, &weights);
    let tensor =
        |(name, shape, values): (String, Shape, Vec<f32>)| (name, (shape.to_vec(), values));
    let mut file: File = params.map(tensor).collect();
    let side = config.input_size / config.patch;
    let pos = Table::SinCos2d {
        side,
        dim: config.dim,
    };
    let shape = vec![1, config.tokens(), config.dim];
    file.insert("pos_embed".into(), (shape, pos.values()));
    file
}

fn bytes(file: &File) -> Vec<u8> {
    let raw: Vec<(&str, &[usize], Vec<u8>)> = file
        .iter()
        .map(|(name, (shape, values))| {
            (
                name.as_str(),
                shape.as_slice(),
                values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            )
        })
        .collect();
    let views = raw.iter().map(|(name, shape, data)| {
        (
            *name,
            TensorView::new(Dtype::F32, shape.to_vec(), data).expect("whole tensors"),
        )
    });
    serialize(views, None).expect("a valid file")
}

fn reader(bytes: Vec<u8>) -> sit_engine::Result<Reader<Cursor<Vec<u8>>>> {
    Reader::new("weights", Cursor::new(bytes))
}

fn empty() -> Model {
    Model::zeros(&Device::Cpu, TINY, Transport::default()).unwrap()
}

#[test]
fn a_model_is_told_from_its_shapes() {
    let unconditional = Dit {
        n_classes: 0,
        learn_sigma: false,
        ..TINY
    };
    let published = Dit {
        depth: 1,
        ..Dit::preset("SiT-S/8").unwrap()
    };
    let plain = Dit {
        condition: Condition::AdaLn,
        ..TINY
    };
    for config in [TINY, unconditional, published, plain] {
        let file = reader(bytes(&bare(&config))).unwrap();
        let n_heads = (config.dim != 384).then_some(config.n_heads);
        assert_eq!(file.model(n_heads, None).unwrap(), config.into());
        file.check(&config).unwrap();
    }
    let file = reader(bytes(&bare(&TINY))).unwrap();
    let error = file.model(None, None).unwrap_err().to_string();
    assert!(error.contains("`n_heads`"), "{error}");
}

/// A file of the fixture's weights, as this program writes it.
fn written(scale: f64, precision: Precision) -> (Model, Recipe, sit_engine::Result<Vec<u8>>) {
    let recipe = Recipe {
        model: TINY.into(),
        transport: Transport {
            path: Path::Gvp,
            t_eps_sample: Some(0.01),
            ..Transport::default()
        },
        data: Some(Data {
            latents: None,
            name: "sines".into(),
            max_level: 16,
        }),
        classes: vec!["ant".into(), "bee, small".into(), "\u{1f41d}".into()],
        class_dropout: Some(0.1),
        average: Some(Averaged {
            average: Average::power(0.07),
            n_updates: 300,
            residual: Some(0.01),
        }),
        latent_scale: Some(0.75),
    };
    let weights = sine_weights(scale);
    let model = net::model(&Device::Cpu, &TINY, recipe.transport.clone(), &weights);
    let mut file = Vec::new();
    let done = model.save(&mut file, &recipe, precision);
    (model, recipe, done.map(|()| file))
}

#[test]
fn what_is_written_is_read_back_with_its_recipe() {
    let (model, recipe, file) = written(0.1, Precision::F32);
    let (_, _, again) = written(0.1, Precision::F32);
    assert!(file == again, "the same weights make the same bytes");

    let mut file = reader(file.unwrap()).unwrap();
    assert_eq!(file.recipe().unwrap(), Some(recipe));
    assert_eq!(file.model(None, None).unwrap(), TINY.into());
    let loaded = empty();
    file.load(&loaded).unwrap();
    for entry in loaded.layout().entries() {
        let name = &entry.name;
        let read = |model: &Model| model.read(name).unwrap();
        assert_eq!(read(&model), read(&loaded), "{name}");
    }
}

/// Rounded to the nearest half, positions included, and read back exactly.
#[test]
fn halves_are_half_the_bytes_and_the_nearest() {
    let (model, recipe, file) = written(0.1, Precision::F16);
    let (_, _, whole) = written(0.1, Precision::F32);
    let (file, whole) = (file.unwrap(), whole.unwrap());
    let n = ModelConfig::from(TINY).n_params();
    assert!(file.len() < whole.len() - 2 * n + 100);
    let mut file = reader(file).unwrap();
    assert_eq!(file.recipe().unwrap(), Some(recipe));
    let loaded = empty();
    file.load(&loaded).unwrap();
    for entry in loaded.layout().entries() {
        let name = &entry.name;
        let read = |model: &Model| model.read(name).unwrap();
        for (x, half) in read(&model).into_iter().zip(read(&loaded)) {
            // 11 bits of significand; below 2^-14 the steps are 2^-24.
            let unit = (x.abs().log2().floor() - 10.0).max(-24.0).exp2();
            assert!((x - half).abs() <= unit / 2.0, "{name}: {x} became {half}");
        }
    }
}

#[test]
fn what_a_half_cannot_hold_is_refused_by_name() {
    let error = written(1e6, Precision::F16).2.unwrap_err().to_string();
    assert!(
        error.starts_with("x_embedder.proj.weight[1] is ") && error.contains("65504"),
        "{error}"
    );
}

/// Bits of halves in which two formats can differ: subnormal, largest, negative zero.
#[test]
fn halves_of_other_programs_are_widened_exactly() {
    let f16: [(u16, f32); 5] = [
        (0x3c00, 1.0),
        (0x0001, 5.960_464_5e-8),
        (0x7bff, 65504.0),
        (0x8000, -0.0),
        (0xb555, -0.333_251_95),
    ];
    let bf16: [(u16, f32); 5] = [
        (0x3f80, 1.0),
        (0x0001, 9.183_55e-41),
        (0x7f7f, 3.389_531_4e38),
        (0x8000, -0.0),
        (0xbeab, -0.333_984_38),
    ];
    for (dtype, rows) in [(Dtype::F16, f16), (Dtype::BF16, bf16)] {
        let of = |bits: &[u16]| {
            let data: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
            let view = TensorView::new(dtype, vec![bits.len()], &data).unwrap();
            reader(serialize([("x", view)], None).unwrap()).unwrap()
        };
        let read = of(&rows.map(|(bits, _)| bits)).read("x").unwrap();
        assert_eq!(
            read.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            rows.map(|(_, x)| x.to_bits())
        );
        // An infinity of f16 and a NaN of both.
        let error = of(&[0, 0x7fff]).read("x").unwrap_err().to_string();
        assert!(error.contains("x[1] is NaN"), "{error}");
    }
}

/// The check covers all values, not only the first.
#[test]
fn every_tensor_that_does_not_fit_is_listed() {
    let mut file = bare(&TINY);
    file.remove("blocks.0.mlp.fc1.bias");
    file.remove("final_layer.linear.weight");
    file.get_mut("blocks.1.attn.qkv.weight").unwrap().0 = vec![32, 96];
    file.insert(
        "blocks.1.attn.q_norm.weight".into(),
        (vec![8], vec![1.0; 8]),
    );
    file.get_mut("pos_embed").unwrap().0 = vec![1, 8, 64];
    let file = reader(bytes(&file)).unwrap();
    let examined = file.examine(Some(4), Some(8));
    assert_eq!(
        examined.model.unwrap(),
        TINY.into(),
        "what is left tells the model"
    );
    let listed: Vec<String> = examined
        .mismatches
        .iter()
        .map(Mismatch::to_string)
        .collect();
    assert_eq!(
        listed,
        [
            "has no tensor blocks.0.mlp.fc1.bias [128]",
            "blocks.1.attn.qkv.weight is [32, 96], expected [96, 32]",
            "has no tensor final_layer.linear.weight [32, 32]",
            "pos_embed is [1, 8, 64], expected [1, 16, 32]",
            "has a tensor blocks.1.attn.q_norm.weight [8] that this model does not have",
        ]
    );
    let error = file.check(&TINY).unwrap_err().to_string();
    assert!(
        error.ends_with("blocks.0.mlp.fc1.bias [128], and 4 more do not fit"),
        "{error}"
    );

    let other = reader(bytes(&[("w".to_owned(), (vec![1], vec![1.0]))].into())).unwrap();
    let examined = other.examine(None, None);
    let error = examined.model.unwrap_err().to_string();
    assert!(
        error.contains("x_embedder.proj.weight; is it a SiT"),
        "{error}"
    );
    assert!(examined.mismatches.is_empty());
}

#[test]
fn a_file_without_positions_is_accepted_and_needs_the_image_size() {
    let mut file = bare(&TINY);
    file.remove("pos_embed");
    let mut file = reader(bytes(&file)).unwrap();
    let error = file.model(Some(4), None).unwrap_err().to_string();
    assert!(error.contains("`input_size`"), "{error}");
    assert_eq!(file.model(Some(4), Some(8)).unwrap(), TINY.into());
    file.load(&empty()).unwrap();
}

/// Each row damages the file and names what the message must hold.
#[test]
fn what_does_not_fit_is_refused_by_name() {
    const QKV: &str = "blocks.1.attn.qkv.weight";
    type Damage = fn(&mut File);
    let rows: [(&str, Damage, &[&str]); 7] = [
        ("missing", |f| drop(f.remove(QKV)), &[QKV]),
        (
            "extra",
            |f| {
                drop(f.insert(
                    "blocks.1.attn.q_norm.weight".into(),
                    (vec![8], vec![1.0; 8]),
                ))
            },
            &["q_norm"],
        ),
        (
            "misshaped",
            |f| f.get_mut(QKV).unwrap().0 = vec![32, 96],
            &[QKV, "[32, 96]", "[96, 32]"],
        ),
        (
            "NaN",
            |f| f.get_mut(QKV).unwrap().1[7] = f32::NAN,
            &[QKV, "[7]", "NaN"],
        ),
        (
            "infinity",
            |f| f.get_mut(QKV).unwrap().1[0] = f32::INFINITY,
            &[QKV, "inf"],
        ),
        (
            "other positions",
            |f| f.get_mut("pos_embed").unwrap().1[40] += 0.1,
            &["pos_embed[40]"],
        ),
        // DiT's convention swapped: rows before columns.
        (
            "swapped positions",
            |f| f.get_mut("pos_embed").unwrap().1[32..64].rotate_left(16),
            &["pos_embed"],
        ),
    ];
    for (what, damage, expected) in rows {
        let mut file = bare(&TINY);
        damage(&mut file);
        let mut file = reader(bytes(&file)).unwrap();
        let error = file.load(&empty()).unwrap_err();
        assert!(matches!(error, Error::Checkpoint(_)), "{what}: {error:?}");
        for word in expected {
            assert!(
                error.to_string().contains(word),
                "{what}: {error} does not name {word}"
            );
        }
    }
}

#[test]
fn a_broken_container_is_refused_without_reading_it() {
    let whole = bytes(&bare(&TINY));
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut huge = whole.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut not_json = whole.clone();
    not_json[8] = b'x';
    let mut longer = whole.clone();
    longer.push(0);
    let rows: [(&str, Vec<u8>, &str); 7] = [
        ("empty", vec![], "0 bytes"),
        ("short", whole[..5].to_vec(), "5 bytes"),
        ("cut in the header", whole[..100].to_vec(), "truncated"),
        (
            "cut in a tensor",
            whole[..8 + header + 1000].to_vec(),
            "truncated: ",
        ),
        ("huge header", huge, "header of 18446744073709551615 bytes"),
        ("not JSON", not_json, "header"),
        ("longer", longer, "1 bytes after"),
    ];
    for (what, bytes, expected) in rows {
        let error = reader(bytes).unwrap_err().to_string();
        assert!(
            error.starts_with("weights") && error.contains(expected),
            "{what}: {error}"
        );
    }
}
