//! Fonts and colors.

use egui::{
    Color32, Context, FontData, FontDefinitions, FontFamily, FontTweak, Ui, Visuals,
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
    ctx.all_styles_mut(|style| style.visuals.panel_fill = Color32::TRANSPARENT);
}

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
