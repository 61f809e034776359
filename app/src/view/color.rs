//! Color scales: images unchanged, and signed numbers on a diverging scale that people with any color vision can read.

use crate::state::Quantity;
use egui::Color32;

/// How numbers become colors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Images in [-1, 1].
    Image,
    /// Signed numbers from minus this to plus this.
    Signed(f32),
}

/// The two ends of the signed scale: blue and vermillion of Okabe and Ito's palette, with white in the middle. They also differ in
/// lightness.
pub(super) const NEGATIVE: [f32; 3] = [0.0, 114.0, 178.0];
pub(super) const POSITIVE: [f32; 3] = [213.0, 94.0, 0.0];
pub(super) const ZERO: [f32; 3] = [250.0, 250.0, 250.0];

/// The largest number on a quantity's scale. It is fixed, so that a color means the same at every step.
pub fn range(quantity: Quantity) -> f32 {
    match quantity {
        Quantity::Predicted | Quantity::State => 1.0,
        Quantity::Velocity | Quantity::VelocityCond | Quantity::VelocityUncond => 3.0,
        Quantity::VelocityGuide => 1.0,
        Quantity::Noise => 0.5,
        Quantity::Difference => 2.0,
    }
}

impl Scale {
    /// The scale of a quantity.
    pub fn of(quantity: Quantity) -> Self {
        if quantity.is_signed() {
            Scale::Signed(range(quantity))
        } else {
            Scale::Image
        }
    }

    /// Color of one number: grey of an image, the place between the two ends of a signed one.
    pub fn color(self, x: f32) -> Color32 {
        match self {
            Scale::Image => Color32::from_gray(level(x)),
            Scale::Signed(range) => {
                let at = (x / range).clamp(-1.0, 1.0);
                let end = if at < 0.0 { NEGATIVE } else { POSITIVE };
                // The square root gives small numbers a visible color.
                let share = at.abs().sqrt();
                let [r, g, b] = [0, 1, 2].map(|i| (ZERO[i] + share * (end[i] - ZERO[i])) as u8);
                Color32::from_rgb(r, g, b)
            }
        }
    }

    /// Color of a pixel of three channels.
    pub fn rgb(self, pixel: [f32; 3]) -> Color32 {
        let range = match self {
            Scale::Image => 1.0,
            Scale::Signed(range) => range,
        };
        let [r, g, b] = pixel.map(|x| level(x / range));
        Color32::from_rgb(r, g, b)
    }
}

/// `[-1, 1]` to 0 to 255, 0 for what is not a number.
fn level(x: f32) -> u8 {
    // `as` saturates.
    (127.5 * x + 127.5).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of WCAG 2.1, from linear sRGB.
    fn luminance(c: Color32) -> f64 {
        let linear = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.04045 {
                v / 12.92
            } else {
                ((v + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * linear(c.r()) + 0.7152 * linear(c.g()) + 0.0722 * linear(c.b())
    }

    #[test]
    fn a_scale_grows_darker_to_both_ends_and_never_back() {
        let scale = Scale::Signed(2.0);
        for sign in [-1.0, 1.0] {
            let at = |i: i32| luminance(scale.color(sign * i as f32 / 10.0));
            assert!((0..20).all(|i| at(i) > at(i + 1)), "sign {sign}");
        }
        // Blue-yellow and red-green differences both tell the ends apart.
        let (low, high) = (scale.color(-2.0), scale.color(2.0));
        assert!(low.b() > high.b() + 100 && high.r() > low.r() + 100);
        assert_eq!(scale.color(f32::INFINITY), high);
    }

    #[test]
    fn images_are_themselves() {
        assert_eq!(Scale::Image.color(-1.0), Color32::BLACK);
        assert_eq!(Scale::Image.color(1.0), Color32::WHITE);
        assert_eq!(Scale::Image.color(f32::NAN), Color32::BLACK);
        assert_eq!(
            Scale::Image.rgb([1.0, -1.0, 9.0]),
            Color32::from_rgb(255, 0, 255)
        );
    }
}
