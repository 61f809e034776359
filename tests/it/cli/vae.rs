//! `--vae`: latents that are decoded.

use super::sample::{array, sit_files};
use super::tensors::{self, Tensors, f32s, read};
use sit_engine::autoencoder::{
    Autoencoder, AutoencoderConfig, AutoencoderKl, Half, TinyAutoencoder,
};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_tests::net::{TINY, sine, sine_weights};
use sit_tests::sit::{run, run_ok};
use std::fs::{self, File};
use std::path::Path;

/// Twice the side of a latent of four channels.
fn small() -> AutoencoderKl {
    AutoencoderKl {
        widths: vec![8, 16],
        blocks: 1,
        groups: 4,
        ..AutoencoderKl::stable_diffusion()
    }
}

/// A half with weights of every size.
fn tensors(config: &AutoencoderConfig, half: Half) -> Tensors {
    let params = config.params(half).unwrap().into_iter().enumerate();
    params
        .map(|(k, spec)| {
            let values = sine(spec.shape.numel(), 0.1, 1.7, 0.3 * k as f64);
            (spec.name.clone(), f32s(&spec.shape, &values))
        })
        .collect()
}

fn write(path: &Path, config: &AutoencoderConfig, half: Half) {
    tensors::write(path, &tensors(config, half));
}

const SAMPLE: &str = "sample sit.safetensors --n-heads 4 --steps 2 --per-class 1 --classes 3,5 --backend cpu --trajectory x.safetensors";

fn model(folder: &Path) {
    let x = sine(512, 1.0, 0.31, 0.2);
    sit_files(folder, &TINY, &sine_weights(0.1), &x, &[3, 10]);
}

/// The PNGs of a folder as numbers in [-1, 1], `[C, H, W]` each.
fn pictures(folder: &Path) -> Vec<(u32, Vec<f32>)> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let picture = |path: &std::path::PathBuf| {
        let picture = image::open(path).unwrap().to_rgb8();
        let n = (picture.width() * picture.height()) as usize;
        let level = |i: usize| f32::from(picture.as_raw()[i % n * 3 + i / n]) / 127.5 - 1.0;
        (picture.width(), (0..3 * n).map(level).collect())
    };
    names.iter().map(picture).collect()
}

#[test]
fn latents_are_decoded_as_the_library_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(folder);
    let (kl, vae) = (small(), folder.join("vae"));
    fs::create_dir(&vae).unwrap();
    let weights = vae.join("diffusion_pytorch_model.safetensors");
    write(&weights, &kl.clone().into(), Half::Decoder);
    // The scale and the groups are not in the tensors.
    let about = r#"{"_class_name": "AutoencoderKL", "norm_num_groups": 4, "scaling_factor": 0.5}"#;
    fs::write(vae.join("config.json"), about).unwrap();
    let text = run_ok(
        folder,
        &format!("{SAMPLE} --vae vae --png pictures --npz x.npz"),
    );
    assert!(text.contains("2 images"), "{text}");

    let kl = AutoencoderKl { scale: 0.5, ..kl };
    let mut reader = Reader::new("vae", File::open(&weights).unwrap()).unwrap();
    let autoencoder = Autoencoder::load(&Device::Cpu, kl, &mut reader).unwrap();
    let x = read(&folder.join("x.safetensors"))["x"].values();
    let latents: Vec<f32> = x[2 * 512..].iter().map(|x| x / 0.5).collect();
    let mut decoder = autoencoder.decoder([16, 16], 1, None).unwrap();
    let decoded = decoder.decode(&latents).unwrap();
    let pictures = pictures(&folder.join("pictures"));
    assert_eq!(pictures.len(), 2);
    for ((side, picture), decoded) in pictures.iter().zip(decoded.chunks(3 * 256)) {
        assert_eq!(*side, 16);
        for (got, want) in picture.iter().zip(decoded) {
            // Half of a level.
            assert!((got - want.clamp(-1.0, 1.0)).abs() <= 0.51 / 127.5);
        }
    }
    let (header, _) = array(folder, "arr_0.npy");
    assert!(
        header.contains("'|u1'") && header.contains("(2, 16, 16, 3, )"),
        "{header}"
    );
}

#[test]
fn autoencoders_that_do_not_fit_are_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model(folder);
    let tiny = AutoencoderConfig::from(TinyAutoencoder {
        latent_channels: 16,
        width: 4,
        pool: true,
    });
    write(&folder.join("tiny.safetensors"), &tiny, Half::Decoder);
    write(
        &folder.join("encoder.safetensors"),
        &small().into(),
        Half::Encoder,
    );
    fs::create_dir(folder.join("empty")).unwrap();
    fs::create_dir(folder.join("broken")).unwrap();
    let weights = folder.join("broken/diffusion_pytorch_model.safetensors");
    write(&weights, &small().into(), Half::Decoder);
    fs::write(folder.join("broken/config.json"), "{\"scaling_factor\": 0}").unwrap();
    for (vae, expected) in [
        (
            "tiny.safetensors",
            "latents have 16 channels, those of the model have 4",
        ),
        ("encoder.safetensors", "has no decoder of an autoencoder"),
        ("sit.safetensors", "has no autoencoder that is known"),
        ("empty", "has no diffusion_pytorch_model.safetensors"),
        ("nowhere.pt", "nowhere.pt"),
        ("broken", "scale"),
    ] {
        let done = run(folder, &format!("{SAMPLE} --vae {vae} --png pictures"));
        assert_eq!(done.code, Some(2), "{vae}: {}", done.stderr);
        assert!(
            done.stderr.contains("--vae: ") && done.stderr.contains(expected),
            "{vae}: {}",
            done.stderr
        );
        assert!(!folder.join("pictures").exists() && !folder.join("x.safetensors").exists());
    }
}

#[test]
fn info_says_which_halves_of_an_autoencoder_a_file_has() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kl = AutoencoderConfig::from(small());
    let mut both = tensors(&kl, Half::Encoder);
    both.extend(tensors(&kl, Half::Decoder));
    fs::create_dir(folder.join("vae")).unwrap();
    let file = "vae/diffusion_pytorch_model.safetensors";
    tensors::write(&folder.join(file), &both);
    write(&folder.join("decoder.safetensors"), &kl, Half::Decoder);
    for half in ["encoder", "decoder"] {
        let path = sit_tests::fixture::path(&format!("taef2/taef2_{half}.pth"));
        fs::copy(path, folder.join(format!("{half}.pth"))).unwrap();
    }
    let decodes = |path: &str| format!("next: sit sample CHECKPOINT --vae {path}");
    let encodes = |path: &str| format!("next: sit data encode FOLDER --vae {path} --out LATENTS");
    for (path, what, is_encoder, is_decoder) in [
        (
            "vae",
            "it is an autoencoder (AutoencoderKL of diffusers): 3 channels, f2, latents of 4 channels, scale 0.18215, shift 0\n",
            true,
            true,
        ),
        (
            "decoder.safetensors",
            "it is the decoder of an autoencoder (AutoencoderKL of diffusers)",
            false,
            true,
        ),
        (
            "encoder.pth",
            "it is the encoder of an autoencoder (TAESD and its like): 3 channels, f8, latents of 32 channels",
            true,
            false,
        ),
        (
            "decoder.pth",
            "it is the decoder of an autoencoder (TAESD and its like)",
            false,
            true,
        ),
    ] {
        let text = run_ok(folder, &format!("info {path}"));
        assert!(text.contains(what), "{path}: {text}");
        assert_eq!(text.contains(&encodes(path)), is_encoder, "{path}: {text}");
        assert_eq!(text.contains(&decodes(path)), is_decoder, "{path}: {text}");
    }
}
