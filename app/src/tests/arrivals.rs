//! Tests with links, pictures and weights that arrive.

use super::{cursor, drop_file, go_to, open, still, until};
use crate::state::{Classes, Export, LanesAction, Source, Verdict};
use crate::{Start, export};
use egui_kittest::kittest::Queryable as _;
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Precision, Recipe};
use sit_engine::model::{Classifier, Dit, Model, ModelConfig};
use sit_engine::transport::Transport;
use std::io::Cursor;

#[test]
fn a_link_restores_the_picture_bit_for_bit() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::SetSeed(5));
    harness
        .state_mut()
        .apply(LanesAction::SetClasses(Classes::One(7)));
    go_to(&mut harness, 17);
    harness.get_by_label("Copy link").click();
    harness.step();
    let commands = &harness.output().platform_output.commands;
    let copied = commands.iter().find_map(|command| match command {
        egui::OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    });
    let start = Start {
        link: Some(copied.unwrap()),
        ..Start::default()
    };
    let mut other = open(start);
    until(&mut other, "the picture", |app| {
        app.state().n_steps() > 0 && app.state().is_shown(17)
    });
    assert_eq!(cursor(other.state()), 17);
    for lane in 0..2 {
        let [a, b] = [&harness, &other].map(|h| h.state().state().records[lane].state(17).cloned());
        assert_eq!(a, b, "lane {lane}");
    }
}

#[test]
fn pictures_carry_their_recipe() {
    let mut harness = still();
    go_to(&mut harness, 9);
    let state = harness.state().state().clone();
    for kind in [Export::Picture, Export::Animation] {
        let bytes = export::encode(kind, &state).unwrap();
        let image = image::load_from_memory(&bytes).unwrap();
        assert!(image.width() > 2 * 8 * 32 && image.height() >= 8 * 32);
        let mut other = still();
        drop_file(&mut other, &export::file_name(kind, &state), bytes);
        assert_eq!(cursor(other.state()), 9, "{kind:?}");
        assert_eq!(other.state().state().link(), state.link());
    }
    // An unrelated picture restores nothing, and the user is told so.
    let mut png = Vec::new();
    image::DynamicImage::new_rgb8(4, 4)
        .write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png)
        .unwrap();
    drop_file(&mut harness, "cat.png", png);
    assert_eq!(cursor(harness.state()), 9);
    harness.get_by_label_contains("Not loaded");
}

#[test]
fn a_good_file_is_stepped_and_bad_ones_are_explained() {
    let good = include_bytes!("../../assets/digits.safetensors").to_vec();
    let mut harness = still();
    drop_file(&mut harness, "mine.safetensors", good.clone());
    until(&mut harness, "the network", |app| {
        app.state().source == Source::File("mine.safetensors".into())
    });
    harness.get_by_label("Loaded");
    go_to(&mut harness, 2);

    let header_len = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&good[8..8 + header_len]).unwrap();
    let with_header = |header: &str| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&good[8 + header_len..]);
        file
    };
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    // Another name of the same length: one tensor is missing, one too many.
    let renamed =
        with_header(&header.replace("final_layer.linear.bias", "final_layer.linear.base"));
    let misshaped = {
        let at = header.find("final_layer.linear.weight").unwrap();
        let shape = at + header[at..].find("[").unwrap();
        let end = shape + header[shape..].find("]").unwrap();
        let numbers: Vec<&str> = header[shape + 1..end].split(',').collect();
        let turned = format!("[{},{}", numbers[1], numbers[0]);
        with_header(&format!("{}{turned}{}", &header[..shape], &header[end..]))
    };
    let cases = [
        (
            "wrong magic",
            b"GGUF, which is another format".to_vec(),
            "is a GGUF file",
        ),
        ("truncated", good[..good.len() / 2].to_vec(), "truncated"),
        ("huge header", huge, "header"),
        (
            "missing tensor",
            renamed,
            "has no tensor final_layer.linear.bias",
        ),
        ("wrong shape", misshaped, "final_layer.linear.weight is"),
    ];
    for (what, bytes, expected) in cases {
        let name = format!("{what}.safetensors");
        drop_file(&mut harness, &name, bytes);
        harness.get_by_label(&name);
        harness.get_by_label_contains("Not loaded");
        assert!(
            harness
                .query_all_by_label_contains(expected)
                .next()
                .is_some(),
            "{what}: {:?}",
            harness.state().card()
        );
        // The earlier session continues.
        assert_eq!(cursor(harness.state()), 2);
    }
}

/// The file of a classifier of the digits whose weights are all the same but for the bias of its head, so that it takes every image for a four.
fn judge_of_fours(image: [usize; 3], n_classes: usize) -> Vec<u8> {
    let trunk = Dit {
        dim: 8,
        depth: 1,
        n_heads: 2,
        patch: 4,
        input_size: image[1],
        channels: image[0],
        n_classes,
        learn_sigma: false,
        ..Dit::preset("SiT-S/2").unwrap()
    };
    let config = ModelConfig::Classifier(Classifier { trunk });
    let model = Model::zeros(&Device::Cpu, config.clone(), Transport::default()).unwrap();
    for spec in model.specs().iter().filter(|spec| spec.is_trained()) {
        let n = spec.shape.numel();
        model.write(&spec.name, &vec![0.01; n]).unwrap();
    }
    let mut bias = vec![0.0; n_classes];
    bias[4 % n_classes] = 1.0;
    model.write("head.bias", &bias).unwrap();
    let mut file = Vec::new();
    let recipe = Recipe::new(config, Transport::default());
    model.save(&mut file, &recipe, Precision::F32).unwrap();
    file
}

#[test]
fn a_classifier_judges_what_lanes_end_with() {
    let mut harness = still();
    drop_file(
        &mut harness,
        "fours.safetensors",
        judge_of_fours([1, 8, 8], 10),
    );
    until(&mut harness, "the judge", |app| app.state().judge.is_some());
    harness.get_by_label("Loaded");
    // The lanes go on with their own network.
    assert_eq!(harness.state().state().source, Source::Digits);
    go_to(&mut harness, 50);
    until(&mut harness, "its verdict", |app| {
        let records = &app.state().records;
        records.iter().all(|record| record.verdict.is_some())
    });
    // Of 64 samples in turn of ten classes six are fours.
    let all_fours = Some(Verdict::Agreement { right: 6, of: 64 });
    for record in &harness.state().state().records {
        assert_eq!(record.verdict, all_fours);
    }
    harness.step();
    let shown = harness.query_all_by_label_contains("at the end 6 of 64 (9.4 %) have their class");
    assert_eq!(shown.count(), 2);
    // Another one begins again, and knows other images.
    drop_file(
        &mut harness,
        "large.safetensors",
        judge_of_fours([3, 16, 16], 10),
    );
    until(&mut harness, "the other judge", |app| {
        let records = &app.state().records;
        records
            .iter()
            .all(|record| record.verdict == Some(Verdict::Other))
    });
}
