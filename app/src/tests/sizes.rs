//! The window in the sizes of laptops, tablets and phones, at several densities: both lanes and the play bar are there. The pictures are kept in
//! the target folder, for people to look at.

use super::{go_to, shot, wait_for_noise, with_background};
use crate::{App, Start};
use egui::Theme;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

fn window(size: [f32; 2], density: f32, theme: Theme) -> Harness<'static, App> {
    let start = Start {
        reduced_motion: true,
        ..Start::default()
    };
    let builder = Harness::builder()
        .with_size(size)
        .with_pixels_per_point(density)
        .with_theme(theme)
        .with_step_dt(1.0 / 60.0);
    let harness = builder.build_eframe(|cc| App::new(cc, start).expect("a thread"));
    let mut harness = with_background(harness);
    wait_for_noise(&mut harness);
    go_to(&mut harness, 45);
    for _ in 0..4 {
        harness.step();
    }
    harness
}

#[test]
fn both_lanes_and_the_play_bar_are_seen_in_every_size() {
    let (dark, light) = ((Theme::Dark, "dark"), (Theme::Light, "light"));
    for (width, height, of_size) in [
        (1280, 800, [(1.0, dark), (1.0, light)]),
        (800, 600, [(1.0, dark), (2.0, light)]),
        (390, 844, [(2.0, light), (3.0, dark)]),
        (844, 390, [(2.0, dark), (3.0, light)]),
    ] {
        for (density, (theme, name)) in of_size {
            let size = [width as f32, height as f32];
            let mut harness = window(size, density, theme);
            let screen = egui::Rect::from_min_size(egui::Pos2::ZERO, size.into());
            let lanes: Vec<_> = (1..=2)
                .map(|lane| {
                    harness
                        .get_by_label(&format!("Samples of lane {lane}"))
                        .rect()
                })
                .collect();
            // The upper part of both lanes, side by side.
            for lane in &lanes {
                let upper = egui::Rect::from_min_size(lane.min, egui::vec2(lane.width(), 60.0));
                assert!(screen.contains_rect(upper), "{width}x{height}: {lane:?}");
                assert!(lane.width() >= 120.0, "{width}x{height}: {lane:?}");
            }
            assert!(lanes[0].right() <= lanes[1].left());
            for label in ["Play", "To the noise", "To the last step"] {
                let rect = harness.get_by_label(label).rect();
                assert!(
                    screen.contains_rect(rect),
                    "{label} in {width}x{height}: {rect:?}"
                );
            }
            shot(
                &mut harness,
                &format!("size-{width}x{height}-{name}-{density}"),
            );
        }
    }
}
