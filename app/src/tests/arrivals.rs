//! Tests with links, pictures and weights that arrive.

use super::{choose, cursor, drop_file, go_to, open, still, until};
use crate::export::Making;
use crate::state::{Classes, Export, LanesAction, Source, State, Verdict};
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

/// The file of an export.
fn made(export: Export, state: &State) -> Vec<u8> {
    let mut making = Making::new(export, state, true).unwrap();
    loop {
        if let Some(bytes) = making.work().unwrap() {
            return bytes;
        }
    }
}

/// Keeps a file in the target folder, for people to look at.
fn keep(name: &str, bytes: &[u8]) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/app-walks");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn figures_of_points_are_the_plot_and_tables_hold_the_numbers() {
    let mut harness = still();
    choose(&mut harness, "Network", "exact field of eight-gaussians");
    until(&mut harness, "the exact field", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    go_to(&mut harness, 50);
    let state = harness.state().state().clone();
    let png = made(Export::Png, &state);
    keep("plane.png", &png);
    let image = image::load_from_memory(&png).unwrap().to_rgb8();
    // The density, arrows and points are of many colors.
    let colors: std::collections::HashSet<_> = image.pixels().collect();
    assert!(colors.len() > 200, "{} colors", colors.len());
    let svg = String::from_utf8(made(Export::Svg, &state)).unwrap();
    keep("plane.svg", svg.as_bytes());
    assert!(svg.matches("<circle").count() >= 2 * 64, "the points");
    let table = String::from_utf8(made(Export::Csv, &state)).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 1 + 2 * 50);
    assert!(
        rows[1].starts_with("1,\"1: ODE, euler\",1,0,0.02,1,"),
        "{}",
        rows[1]
    );
    let columns = rows[0].split(',').count();
    // The caption of the second lane has commas within its quotes.
    assert_eq!(rows[1].split(',').count(), columns + 1);
    let npz = made(Export::Npz, &state);
    let mut zip = zip::ZipArchive::new(Cursor::new(npz)).unwrap();
    let mut bytes = Vec::new();
    std::io::copy(&mut zip.by_name("lane_2_x.npy").unwrap(), &mut bytes).unwrap();
    let x = state.records[1].state(50).unwrap();
    let expected: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert!(bytes.ends_with(&expected) && bytes.len() == expected.len() + 128);
    assert!(String::from_utf8_lossy(&bytes[..128]).contains("(64, 2, 1, 1, )"));
}

#[test]
fn a_figure_of_a_stop_is_xml_and_keeps_its_link() {
    let mut harness = still();
    harness.state_mut().apply(crate::state::TourAction::Go(3));
    harness.state_mut().apply(LanesAction::SetSeed(9));
    go_to(&mut harness, 3);
    let state = harness.state().state();
    let link = state.link().encode();
    assert!(link.contains('&'), "{link}");
    let svg = made(Export::Svg, state);
    let text = String::from_utf8(svg.clone()).unwrap();
    let is_entity = |(at, _): (usize, &str)| text[at..].starts_with("&amp;");
    let others = ["&lt;", "&gt;"].map(|it| text.matches(it).count());
    let n_entities = text.match_indices('&').filter(|m| is_entity(*m)).count();
    assert_eq!(
        n_entities + others[0] + others[1],
        text.matches('&').count()
    );
    assert_eq!(export::link(&svg), Some(link));
}

#[test]
fn a_strip_is_as_high_at_its_first_step_as_at_its_last() {
    let mut harness = still();
    go_to(&mut harness, 12);
    let set = crate::state::ViewAction::SetLayout(crate::state::Layout::Film);
    harness.state_mut().apply(set);
    harness.step();
    let mut state = harness.state().state().clone();
    let size = |state: &State| {
        let png = image::load_from_memory(&made(Export::Png, state)).unwrap();
        [png.width(), png.height()]
    };
    let last = size(&state);
    state.apply(crate::state::PlaybackAction::Seek(0));
    let first = size(&state);
    assert_eq!(first[0], last[0]);
    assert!(first[1] <= 2 * 620, "{first:?}");
}

#[test]
fn pictures_carry_their_recipe() {
    let mut harness = still();
    go_to(&mut harness, 9);
    let state = harness.state().state().clone();
    for kind in [Export::Png, Export::Svg, Export::Gif, Export::Apng] {
        let bytes = made(kind, &state);
        keep(&export::file_name(kind, &state), &bytes);
        match kind {
            Export::Svg => {
                let text = String::from_utf8(bytes.clone()).unwrap();
                assert!(text.contains(">1: ODE, euler</text>"), "{text}");
                assert_eq!(text.matches("<image").count(), 2);
            }
            _ => {
                let image = image::load_from_memory(&bytes).unwrap();
                let scale = if kind == Export::Png { 2 } else { 1 };
                assert_eq!(image.width(), scale * 832);
                assert!((440..560).contains(&(image.height() / scale)));
            }
        }
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
