//! Fonts and colors.

use egui::{
    Color32, Context, FontData, FontDefinitions, FontFamily, FontTweak, TextStyle, Ui, Visuals,
    style::ScrollAnimation,
};
use std::sync::Arc;

/// The fonts, with the characters that [`assets/fonts/README.md`](../assets/fonts/README.md) lists: those that egui embeds would be a
/// quarter of the page.
const FONTS: [(&str, &[u8], f32); 3] = [
    (
        "Ubuntu-Light",
        include_bytes!("../assets/fonts/Ubuntu-Light.ttf"),
        1.0,
    ),
    (
        "Hack",
        include_bytes!("../assets/fonts/Hack-Regular.ttf"),
        1.0,
    ),
    (
        "emoji-icon-font",
        include_bytes!("../assets/fonts/emoji-icon-font.ttf"),
        0.9,
    ),
];

/// The fonts of text and of numbers: each is also the fallback of the other, so that the symbols in equations are found.
fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::empty();
    for (name, bytes, scale) in FONTS {
        let tweak = FontTweak {
            scale,
            ..FontTweak::default()
        };
        let data = FontData::from_static(bytes).tweak(tweak);
        fonts.font_data.insert(name.to_owned(), Arc::new(data));
    }
    let [text, numbers, symbols] = FONTS.map(|(name, ..)| name.to_owned());
    let lists = [
        (FontFamily::Proportional, [&text, &numbers, &symbols]),
        (FontFamily::Monospace, [&numbers, &text, &symbols]),
    ];
    for (family, names) in lists {
        fonts
            .families
            .insert(family, names.map(String::clone).into());
    }
    fonts
}

/// Sets fonts and colors.
pub fn set(ctx: &Context) {
    ctx.set_fonts(fonts());
    // The window is cleared in the panels' color, because filling it again is expensive on a software adapter.
    ctx.all_styles_mut(|style| {
        style.visuals.panel_fill = Color32::TRANSPARENT;
        let dark = style.visuals.dark_mode;
        let (text, weak) = if dark { (190, 160) } else { (50, 85) };
        let (warning, error) = match dark {
            true => ([255, 160, 50], [255, 115, 100]),
            false => ([140, 70, 0], [180, 0, 0]),
        };
        let color = |[r, g, b]: [u8; 3]| Color32::from_rgb(r, g, b);
        (style.visuals.warn_fg_color, style.visuals.error_fg_color) =
            (color(warning), color(error));
        style.visuals.widgets.noninteractive.fg_stroke.color = Color32::from_gray(text);
        style.visuals.weak_text_color = Some(Color32::from_gray(weak));
        for (kind, font) in &mut style.text_styles {
            font.size = font.size.max(match kind {
                TextStyle::Small => SMALLEST,
                _ => TEXT,
            });
        }
    });
}

/// Sizes of small text and of all other text, in points; egui's own are smaller.
const SMALLEST: f32 = 11.0;
const TEXT: f32 = 13.0;

/// The color behind the panels.
pub fn background(visuals: &Visuals) -> Color32 {
    visuals.window_fill
}

/// Turns animations off.
pub fn still(ctx: &Context) {
    ctx.all_styles_mut(|style| {
        style.animation_time = 0.0;
        style.scroll_animation = ScrollAnimation::none();
    });
}

/// A color for what is well, readable on light and dark.
pub fn good(ui: &Ui) -> Color32 {
    if ui.visuals().dark_mode {
        Color32::from_rgb(86, 200, 130)
    } else {
        Color32::from_rgb(0, 120, 70)
    }
}

/// A color for what is worth a look, readable on light and dark.
pub fn notable(ui: &Ui) -> Color32 {
    if ui.visuals().dark_mode {
        Color32::from_rgb(225, 200, 110)
    } else {
        Color32::from_rgb(120, 85, 0)
    }
}

/// The color of the picked sample, which no class and no lane has; it can be seen on light and dark.
pub const PICKED: Color32 = Color32::from_rgb(220, 40, 90);

/// The lanes' colors in plots, of Okabe and Ito's, which people with any color vision tell apart; in gray they differ too.
pub const LANES: [Color32; 4] = [
    Color32::from_rgb(0, 114, 178),
    Color32::from_rgb(230, 159, 0),
    Color32::from_rgb(0, 158, 115),
    Color32::from_rgb(204, 121, 167),
];

#[cfg(test)]
mod tests {
    use super::*;
    use egui::FontId;

    /// Every character of the code in a folder.
    fn characters(folder: &std::path::Path, found: &mut Vec<char>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                characters(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                found.extend(code.flat_map(str::chars));
            }
        }
    }

    /// Relative luminance of WCAG 2.1.
    fn luminance(color: Color32) -> f64 {
        let linear = |v: u8| {
            let v = f64::from(v) / 255.0;
            match v <= 0.04045 {
                true => v / 12.92,
                false => libm::pow((v + 0.055) / 1.055, 2.4),
            }
        };
        let [r, g, b] = [color.r(), color.g(), color.b()].map(linear);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    #[test]
    fn text_can_be_read_on_dark_and_light() {
        let ctx = Context::default();
        set(&ctx);
        for dark in [true, false] {
            ctx.set_theme(if dark {
                egui::Theme::Dark
            } else {
                egui::Theme::Light
            });
            let mut output = ctx.run_ui(egui::RawInput::default(), |ui| {
                let visuals = ui.visuals();
                let behind = luminance(background(visuals));
                let colors = [
                    visuals.text_color(),
                    visuals.weak_text_color(),
                    visuals.warn_fg_color,
                    visuals.error_fg_color,
                    visuals.widgets.inactive.fg_stroke.color,
                    good(ui),
                    notable(ui),
                ];
                for color in colors {
                    let text = luminance(color);
                    let contrast = (text.max(behind) + 0.05) / (text.min(behind) + 0.05);
                    assert!(contrast >= 4.5, "{color:?} on dark = {dark}: {contrast:.2}");
                }
                let smallest = ui.style().text_styles.values().map(|f| f.size);
                assert!(smallest.fold(f32::INFINITY, f32::min) >= 11.0);
            });
            output.textures_delta.clear();
        }
    }

    #[test]
    fn every_character_of_the_program_has_a_glyph() {
        let ctx = Context::default();
        set(&ctx);
        let mut found: Vec<char> = (' '..='~').collect();
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["src", "../engine/src/transport"] {
            characters(&here.join(folder), &mut found);
        }
        found.sort_unstable();
        found.dedup();
        assert!(found.contains(&'√') && found.contains(&'₁'), "{found:?}");
        // Fonts are there from the first frame on.
        let mut output = ctx.run_ui(egui::RawInput::default(), |_| {});
        output.textures_delta.clear();
        for family in [FontFamily::Proportional, FontFamily::Monospace] {
            let id = FontId::new(14.0, family);
            let missing: Vec<char> = ctx.fonts_mut(|fonts| {
                let lacks = |c: &char| !fonts.has_glyph(&id, *c);
                found.iter().copied().filter(lacks).collect()
            });
            assert!(missing.is_empty(), "{id:?}: {missing:?}");
        }
    }
}
