//! Any bytes as a weight file: safetensors, zip archives and pickles of PyTorch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sit_engine::checkpoint::Reader;
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = Reader::new("file", Cursor::new(bytes)) else {
        return;
    };
    drop(file.examine(None, None));
    drop(file.examine(Some(1), Some(8)));
    let sets: Vec<String> = file.sets().map(str::to_owned).collect();
    for set in 0..sets.len().max(1) {
        if let Some(name) = sets.get(set) {
            file.select(name).expect("it is there");
        }
        let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            drop(file.read(&name));
        }
    }
});
