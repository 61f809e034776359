//! Any bytes as a picture, an archive of pictures, or a pair of IDX files. The first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sit_trainer::data::{File, open_files, suggest_files};

// Panics of the image decoders are caught by the library (`sit_trainer::data::is_guarded`). The hook of libFuzzer would end the
// process before; without it, only a panic that nobody catches does.
fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    let names = ["a/0.png", "a/0.jpg", "a/0.webp", "all.zip", "train-images-idx3-ubyte"];
    let name = names[*which as usize % names.len()];
    let half = bytes.len() / 2;
    let files: Vec<File> = match name.ends_with("ubyte") {
        true => vec![
            (name.into(), bytes[..half].into()),
            ("train-labels-idx1-ubyte".into(), bytes[half..].into()),
        ],
        false => vec![(name.into(), bytes.into())],
    };
    let mut config = suggest_files("dropped", &files);
    config.max_megapixels = Some(1);
    drop(pollster::block_on(open_files(&config, &files, async |_, _| ())));
});
