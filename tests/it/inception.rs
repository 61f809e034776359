//! The Inception network of FID: batches, devices, files that do not fit, memory.

use crate::memory::peak;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::inception::{Inception, Resize, Taps};
use sit_engine::nn::ParamSpec;
use sit_engine::shape::Shape;
use sit_tests::fixture::Fixture;
use sit_tests::inception::{Tensors, file, official_file, weights};
use sit_tests::{assert_close, below, gpu};
use std::io::Cursor;

/// The smallest images that the network can evaluate, which is 6 % of the work.
const SIDE: usize = 75;
const SIZE: [usize; 2] = [40, 64];

fn images(n: usize) -> Vec<u8> {
    let bytes = below(1, n * SIZE[0] * SIZE[1] * 3, 256);
    bytes.into_iter().map(|x| x as u8).collect()
}

fn load(device: &Device, resize: Resize, batch: usize) -> Inception {
    let mut reader = Reader::new("formula weights", Cursor::new(official_file())).unwrap();
    Inception::load_at(device, &mut reader, resize, batch, SIDE).unwrap()
}

fn parts(taps: &Taps) -> [(&'static str, &[f32], usize); 7] {
    // 3 x 3 pixels are left of 75 x 75 where there are 17 x 17 of 299 x 299.
    [
        ("tap64", &taps.tap64, 64),
        ("tap192", &taps.tap192, 192),
        ("tap768", &taps.tap768, 768),
        ("pool2048", &taps.pool2048, Inception::N_FEATURES),
        ("spatial", &taps.spatial2023, 3 * 3 * 7),
        ("logits", &taps.logits, Inception::N_LOGITS),
        (
            "logits_unbiased",
            &taps.logits_unbiased,
            Inception::N_LOGITS,
        ),
    ]
}

#[test]
fn no_bit_depends_on_the_batch() {
    let images = images(5);
    for resize in [Resize::Tf1, Resize::HalfPixel, Resize::Antialias] {
        let of = |batch| {
            load(&Device::Cpu, resize, batch)
                .features(&images, SIZE)
                .unwrap()
        };
        let one = of(1);
        for (name, values, len) in parts(&one) {
            assert_eq!(values.len(), 5 * len, "{name}");
            let differs = values.chunks(len).skip(1).any(|row| row != &values[..len]);
            assert!(differs, "{name}");
        }
        assert_eq!(of(2), one);
        assert_eq!(of(5), one);
        assert_eq!(of(7), one);
    }
    // No images have no features.
    let mut inception = load(&Device::Cpu, Resize::Tf1, 2);
    assert_eq!(inception.features(&[], SIZE).unwrap(), Taps::default());
    // Another size in between changes nothing.
    let first = inception.features(&images, SIZE).unwrap();
    inception.features(&images, [SIZE[1], SIZE[0]]).unwrap();
    assert_eq!(inception.features(&images, SIZE).unwrap(), first);
}

/// The whole network, of small images, since software GPUs need minutes for large ones.
#[test]
fn a_gpu_has_the_features_of_the_cpu() {
    let images = images(2);
    let [want, got] = [&Device::Cpu, gpu()].map(|device| {
        let mut inception = load(device, Resize::Tf1, 2);
        inception.features(&images, SIZE).unwrap()
    });
    for ((name, got, _), (_, want, _)) in parts(&got).into_iter().zip(parts(&want)) {
        assert_close(name, got, want, 1e-4);
    }
}

#[test]
fn images_that_do_not_fit_are_refused() {
    let mut inception = load(&Device::Cpu, Resize::Tf1, 1);
    for (n, size) in [(11, [2, 2]), (12, [0, 2]), (12, [usize::MAX, 2])] {
        let message = inception
            .features(&vec![0; n], size)
            .unwrap_err()
            .to_string();
        let expected = format!(
            "images got {n} values, expected a multiple of {} x {} x 3",
            size[0], size[1]
        );
        assert_eq!(message, expected);
    }
    let mut reader = Reader::new("formula weights", Cursor::new(official_file())).unwrap();
    let none = Inception::load(&Device::Cpu, &mut reader, Resize::Tf1, 0);
    assert_eq!(
        none.unwrap_err().to_string(),
        "batch: got 0, expected at least 1"
    );
}

/// Weights are read one tensor at a time, so that there is only one copy of all.
#[test]
fn loading_needs_the_weights_once() {
    let bytes = official_file();
    let mut reader = Reader::new("formula weights", Cursor::new(bytes)).unwrap();
    let load = || Inception::load(&Device::Cpu, &mut reader, Resize::Tf1, 2).unwrap();
    let (inception, most) = peak(load);
    let largest = Inception::specs()
        .iter()
        .map(|spec| spec.shape.numel() * 4)
        .max();
    let own = inception.bytes() as usize + 2 * 299 * 299 * 3 * 4;
    let spare = most.saturating_sub(own);
    // The bytes of the largest tensor and its values in both orders, or twice the plan.
    assert!(spare < 4 * largest.unwrap(), "{spare} of {most}");
    // Not more than 22 MiB for an image in a batch.
    let values = inception.bytes() as usize - 24_000_000 * 4;
    assert!(values < 2 * (22 << 20), "{values}");
}

fn refusal(tensors: &[(ParamSpec, Vec<f32>)]) -> String {
    let mut reader = Reader::new("f.safetensors", Cursor::new(file(tensors))).unwrap();
    let loaded = Inception::load_at(&Device::Cpu, &mut reader, Resize::Tf1, 1, SIDE);
    loaded.unwrap_err().to_string()
}

fn find<'a>(tensors: &'a mut Tensors, name: &str) -> &'a mut (ParamSpec, Vec<f32>) {
    let found = tensors.iter_mut().find(|(spec, _)| spec.name == name);
    found.unwrap()
}

fn extra(name: &str, shape: &[usize]) -> (ParamSpec, Vec<f32>) {
    let mut spec = Inception::specs()[1].clone();
    spec.name = name.to_owned();
    spec.shape = Shape::from(shape);
    let n = spec.shape.numel();
    (spec, vec![1.0; n])
}

#[test]
fn files_that_do_not_fit_are_refused_by_the_name_of_a_tensor() {
    let fixture = Fixture::open("inception");
    let whole = weights(&fixture.root());
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = whole.clone();
        change(&mut tensors);
        refusal(&tensors)
    };
    let torchvision = "torchvision's Inception v3, whose weights and pools are others; FID is defined by the weights of 2015-12-05";
    for (message, parts) in [
        (
            with(&|t| drop(t.remove(0))),
            [
                "f.safetensors: has no tensor Conv2d_1a_3x3.conv.weight",
                "pytorch-fid or torch-fidelity",
            ],
        ),
        (
            with(&|t| t.retain(|(spec, _)| spec.name != "Mixed_5b.branch5x5_2.bn.running_mean")),
            [
                "has no tensor Mixed_5b.branch5x5_2.bn.running_mean [64]",
                "",
            ],
        ),
        (
            with(&|t| find(t, "Mixed_7c.branch_pool.bn.bias").0.shape = [2, 96].into()),
            [
                "Mixed_7c.branch_pool.bn.bias is [2, 96], expected [192]",
                "",
            ],
        ),
        (
            with(&|t| t.push(extra("Mixed_8a.branch1x1.bn.bias", &[3]))),
            ["has a tensor Mixed_8a.branch1x1.bn.bias [3]", ""],
        ),
        (
            with(&|t| t.push(extra("AuxLogits.conv0.bn.bias", &[3]))),
            ["has AuxLogits.conv0.bn.bias: ", torchvision],
        ),
        (
            with(&|t| {
                let (spec, values) = find(t, "fc.weight");
                spec.shape = [1000, Inception::N_FEATURES].into();
                values.truncate(1000 * Inception::N_FEATURES);
            }),
            ["has fc.weight [1000, 2048]: ", torchvision],
        ),
        (
            with(&|t| find(t, "Mixed_6a.branch3x3.bn.running_var").1[5] = -0.25),
            [
                "Mixed_6a.branch3x3.bn.running_var[5] is -0.25, expected at least 0",
                "",
            ],
        ),
        (
            with(&|t| find(t, "fc.bias").1[7] = f32::NAN),
            ["fc.bias[7] is NaN", ""],
        ),
        (
            with(&|t| find(t, "Conv2d_2a_3x3.conv.weight").1.fill(0.0)),
            ["Conv2d_2a_3x3.conv.weight has only zeros", ""],
        ),
        (
            with(&|t| {
                find(t, "Conv2d_2a_3x3.bn.running_var").1.fill(0.0);
                find(t, "Conv2d_2a_3x3.bn.weight").1.fill(3e38);
            }),
            [
                "Conv2d_2a_3x3.conv.weight is too large with its batch norm",
                "",
            ],
        ),
    ] {
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

/// The counter of each batch norm is left out, and names may have a prefix.
#[test]
fn names_may_have_a_prefix_and_counters_beside_them() {
    let fixture = Fixture::open("inception");
    let images = images(1);
    let want = load(&Device::Cpu, Resize::Tf1, 1)
        .features(&images, SIZE)
        .unwrap();
    for prefix in ["module.", "base.", "net.inception."] {
        let mut tensors = weights(&fixture.root());
        tensors.push(extra("Conv2d_1a_3x3.bn.num_batches_tracked", &[]));
        for (spec, _) in &mut tensors {
            spec.name.insert_str(0, prefix);
        }
        let mut reader = Reader::new("prefixed", Cursor::new(file(&tensors))).unwrap();
        let mut inception =
            Inception::load_at(&Device::Cpu, &mut reader, Resize::Tf1, 1, SIDE).unwrap();
        assert_eq!(inception.features(&images, SIZE).unwrap(), want, "{prefix}");
    }
}

/// A pickle of dictionaries of NumPy arrays, under the names and in the order of axes of jax-fid.
fn pickle(tensors: &Tensors) -> Vec<u8> {
    let text = |text: &str| {
        let n = (text.len() as u32).to_le_bytes();
        [b"X", &n[..], text.as_bytes()].concat()
    };
    let array = |shape: &[usize], values: &[f32]| {
        let mut bytes =
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R(K\x01("
                .to_vec();
        for size in shape {
            bytes.extend(b"J");
            bytes.extend((*size as u32).to_le_bytes());
        }
        bytes.extend(b"tcnumpy\ndtype\n");
        bytes.extend(text("f4"));
        bytes.extend(b"\x89\x88\x87R(K\x03");
        bytes.extend(text("<"));
        bytes.extend(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89B");
        bytes.extend((4 * values.len() as u32).to_le_bytes());
        bytes.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        bytes.extend(b"tb");
        bytes
    };
    let names = [
        ("conv.weight", "conv.kernel"),
        ("bn.weight", "bn.scale"),
        ("bn.bias", "bn.bias"),
        ("bn.running_mean", "bn.mean"),
        ("bn.running_var", "bn.var"),
        ("fc.weight", "fc.kernel"),
        ("fc.bias", "fc.bias"),
    ];
    let mut bytes = b"\x80\x03}(".to_vec();
    let mut open: Vec<String> = Vec::new();
    for (spec, values) in tensors {
        let (end, new) = names
            .iter()
            .find(|(end, _)| spec.name.ends_with(end))
            .unwrap();
        let name = spec.name.replace(end, new);
        // [O, C, kh, kw] to [kh, kw, C, O], [O, C] to [C, O].
        let (n, rest) = (spec.shape[0], spec.shape[1..].iter().product::<usize>());
        let shape: Vec<usize> = match spec.shape[..] {
            [n, c, kh, kw] => vec![kh, kw, c, n],
            _ => spec.shape.iter().rev().copied().collect(),
        };
        let c = spec.shape.get(1).copied().unwrap_or(1);
        let taps = rest / c;
        let places = (0..taps).flat_map(|tap| (0..c).map(move |c| c * taps + tap));
        let values: Vec<f32> = places
            .flat_map(|at| values.iter().skip(at).step_by(rest).copied())
            .collect();
        assert_eq!(values.len(), n * rest);
        let path: Vec<&str> = name.split('.').collect();
        let (key, folders) = path.split_last().unwrap();
        let same = open.iter().zip(folders).take_while(|(a, b)| a == b).count();
        bytes.extend(open.drain(same..).map(|_| b'u'));
        for folder in &folders[same..] {
            bytes.extend(text(folder));
            bytes.extend(b"}(");
            open.push((*folder).to_owned());
        }
        bytes.extend(text(key));
        bytes.extend(array(&shape, &values));
    }
    bytes.extend(open.iter().map(|_| b'u'));
    bytes.extend(b"u.");
    bytes
}

#[test]
fn weights_of_jax_fid_are_read() {
    let images = images(1);
    let mut official = load(&Device::Cpu, Resize::Tf1, 1);
    let want = official.features(&images, SIZE).unwrap();
    let bytes = pickle(&weights(&Fixture::open("inception").root()));
    let mut reader = Reader::new("a pickle", Cursor::new(bytes)).unwrap();
    let mut inception =
        Inception::load_at(&Device::Cpu, &mut reader, Resize::Tf1, 1, SIDE).unwrap();
    assert_eq!(inception.features(&images, SIZE).unwrap(), want);
    assert_eq!(inception.hash(), official.hash());
    // One value more or less is another network.
    let mut tensors = weights(&Fixture::open("inception").root());
    tensors.last_mut().unwrap().1[7] += 1.0;
    let mut reader = Reader::new("another", Cursor::new(file(&tensors))).unwrap();
    let other = Inception::load_at(&Device::Cpu, &mut reader, Resize::Tf1, 1, SIDE).unwrap();
    assert_ne!(other.hash(), official.hash());
}
