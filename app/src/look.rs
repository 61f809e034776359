//! Fonts and colors.

use egui::{Color32, Context, FontDefinitions, FontFamily, Ui, Visuals, style::ScrollAnimation};

/// Sets the fonts: each of egui's two text fonts is also the fallback of the other, so that the symbols in equations are found.
pub fn set(ctx: &Context) {
    let mut fonts = FontDefinitions::default();
    let mono = fonts.families[&FontFamily::Monospace].clone();
    let text = fonts.families[&FontFamily::Proportional].clone();
    for (family, others) in [
        (FontFamily::Proportional, mono),
        (FontFamily::Monospace, text),
    ] {
        let list = fonts.families.entry(family).or_default();
        list.extend(others);
        let mut seen = Vec::new();
        list.retain(|name| {
            let new = !seen.contains(name);
            seen.push(name.clone());
            new
        });
    }
    ctx.set_fonts(fonts);
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

/// The lanes' colors in plots, of Okabe and Ito's, which people with any color vision tell apart; in gray they differ too.
pub const LANES: [Color32; 4] = [
    Color32::from_rgb(0, 114, 178),
    Color32::from_rgb(230, 159, 0),
    Color32::from_rgb(0, 158, 115),
    Color32::from_rgb(204, 121, 167),
];
