//! Lines over a logarithmic axis as a picture, with axes, a legend and names.

use super::{encode, font};

const WIDTH: usize = 900;
/// Pixels of a panel without the space for names.
const HEIGHT: usize = 300;
/// Pixels left, above, right of and below a panel.
const MARGIN: [usize; 4] = [80, 40, 30, 50];
/// Pixels of a line of the legend.
const ENTRY: usize = 12;

const BLACK: [u8; 3] = [0; 3];
const GREY: [u8; 3] = [225; 3];

/// The color of each line in turn.
const COLORS: [[u8; 3]; 8] = [
    [31, 119, 180],
    [214, 39, 40],
    [44, 160, 44],
    [148, 103, 189],
    [255, 127, 14],
    [23, 190, 207],
    [140, 86, 75],
    [90, 90, 90],
];

/// Points that are joined, by rising x.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// x and y.
    pub points: Vec<[f64; 2]>,
}

/// A pair of axes with lines.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What y is.
    pub name: String,
    /// The largest value that y can have.
    pub most: Option<f64>,
    /// The same ones in each panel of a plot.
    pub lines: Vec<Line>,
}

/// Panels one below the other over the same x, whose axis is logarithmic, with one legend for all.
#[derive(Debug)]
pub struct Plot {
    /// RGB, by rows.
    pixels: Vec<u8>,
    height: usize,
}

/// Where the values of a panel lie.
struct Frame {
    /// The row of the panel's upper end.
    top: usize,
    /// Logarithms of the first and the last x.
    x: [f64; 2],
    y: [f64; 2],
}

impl Frame {
    fn column(&self, x: f64) -> f64 {
        let width = (WIDTH - MARGIN[0] - MARGIN[2]) as f64;
        MARGIN[0] as f64 + width * share(x.ln(), self.x)
    }

    fn row(&self, y: f64) -> f64 {
        (self.top + HEIGHT) as f64 - HEIGHT as f64 * share(y, self.y)
    }
}

/// The place of a value between two.
fn share(value: f64, [from, to]: [f64; 2]) -> f64 {
    (value - from) / (to - from)
}

impl Plot {
    /// Draws the panels. Values must be finite, and x above 0; `x_name` says what it is.
    pub fn new(x_name: &str, panels: &[Panel]) -> Self {
        let n_entries = panels.iter().map(|panel| panel.lines.len()).max();
        let n_entries = n_entries.unwrap_or(0);
        let of_panel = MARGIN[1] + HEIGHT + MARGIN[3];
        let height = panels.len() * of_panel + 2 * ENTRY + n_entries * ENTRY;
        let mut plot = Plot {
            pixels: vec![255; 3 * WIDTH * height],
            height,
        };
        for (i, panel) in panels.iter().enumerate() {
            plot.panel(i * of_panel + MARGIN[1], x_name, panel);
        }
        let lines = panels.first().map_or(&[][..], |panel| &panel.lines);
        for (i, line) in lines.iter().enumerate() {
            let row = panels.len() * of_panel + ENTRY + i * ENTRY;
            let color = COLORS[i % COLORS.len()];
            for row in row + 2..row + 5 {
                let [left, row] = [MARGIN[0] as f64, row as f64];
                plot.line([left, row], [left + 20.0, row], color);
            }
            plot.text(MARGIN[0] + 30, row, &line.name, BLACK);
        }
        plot
    }

    fn panel(&mut self, top: usize, x_name: &str, panel: &Panel) {
        let points = || panel.lines.iter().flat_map(|line| &line.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[lo, hi], value| {
                [lo.min(value), hi.max(value)]
            })
        };
        let [first, last] = range(&mut points().map(|point| point[0]));
        if first > last {
            return;
        }
        // Room on either side, also for a single x.
        let x = [first.ln() - 0.15, last.ln() + 0.15];
        let y_ticks = ticks_until(range(&mut points().map(|point| point[1])), panel.most);
        let y = [y_ticks[0], y_ticks[y_ticks.len() - 1]];
        let frame = Frame { top, x, y };
        for &tick in &y_ticks {
            let row = frame.row(tick);
            self.line(
                [MARGIN[0] as f64, row],
                [(WIDTH - MARGIN[2]) as f64, row],
                GREY,
            );
            let text = number(tick);
            let left = MARGIN[0].saturating_sub(font::ADVANCE * (text.len() + 1));
            self.text(left, row as usize - 3, &text, BLACK);
        }
        let mut xs: Vec<f64> = points().map(|point| point[0]).collect();
        xs.sort_by(f64::total_cmp);
        let mut free = 0;
        for x in xs {
            let (text, column) = (number(x), frame.column(x) as usize);
            let half = font::ADVANCE * text.len() / 2;
            if column < free + half {
                continue;
            }
            free = column + half + 2 * font::ADVANCE;
            let bottom = top + HEIGHT;
            self.line(
                [column as f64, bottom as f64],
                [column as f64, bottom as f64 + 4.0],
                BLACK,
            );
            self.text(column - half, bottom + 8, &text, BLACK);
        }
        self.frame(top);
        self.text(MARGIN[0], top - 20, &panel.name, BLACK);
        let middle = WIDTH / 2 - font::ADVANCE * x_name.len() / 2;
        self.text(middle, top + HEIGHT + 24, x_name, BLACK);
        for (i, line) in panel.lines.iter().enumerate() {
            self.curve(&frame, line, COLORS[i % COLORS.len()]);
        }
    }

    fn frame(&mut self, top: usize) {
        let (left, right) = (MARGIN[0] as f64, (WIDTH - MARGIN[2]) as f64);
        let (top, bottom) = (top as f64, (top + HEIGHT) as f64);
        let corners = [
            [left, top],
            [right, top],
            [right, bottom],
            [left, bottom],
            [left, top],
        ];
        for two in corners.windows(2) {
            self.line(two[0], two[1], BLACK);
        }
    }

    fn curve(&mut self, frame: &Frame, line: &Line, color: [u8; 3]) {
        let at = |point: &[f64; 2]| [frame.column(point[0]), frame.row(point[1])];
        for two in line.points.windows(2) {
            self.line(at(&two[0]), at(&two[1]), color);
        }
        for point in &line.points {
            let [column, row] = at(point);
            for offset in -2..=2 {
                let row = row + f64::from(offset);
                self.line([column - 2.0, row], [column + 2.0, row], color);
            }
        }
    }

    fn line(&mut self, from: [f64; 2], to: [f64; 2], color: [u8; 3]) {
        let n = (to[0] - from[0]).abs().max((to[1] - from[1]).abs()).ceil();
        for i in 0..=n as usize {
            let share = i as f64 / n.max(1.0);
            let [column, row] = [0, 1].map(|axis| from[axis] + share * (to[axis] - from[axis]));
            self.pixel(column.round() as usize, row.round() as usize, color);
        }
    }

    fn text(&mut self, left: usize, top: usize, text: &str, color: [u8; 3]) {
        for (column, row) in font::pixels(text) {
            self.pixel(left + column, top + row, color);
        }
    }

    fn pixel(&mut self, column: usize, row: usize, color: [u8; 3]) {
        if column < WIDTH && row < self.height {
            let at = 3 * (row * WIDTH + column);
            self.pixels[at..at + 3].copy_from_slice(&color);
        }
    }

    /// The picture as a PNG.
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Nothing fails in memory.
        encode(&mut bytes, &self.pixels, [3, self.height, WIDTH]).ok();
        bytes
    }
}

/// At least two round numbers at equal distances that enclose a range.
fn ticks([lo, hi]: [f64; 2]) -> Vec<f64> {
    let span = if hi > lo { hi - lo } else { lo.abs().max(1.0) };
    let power = 10f64.powf((span / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = steps.into_iter().find(|step| span / step <= 6.0);
    let step = step.unwrap_or(span);
    let first = (lo / step).floor();
    let last = ((hi / step).ceil()).max(first + 1.0);
    let n = (last - first) as usize;
    (0..=n).map(|i| (first + i as f64) * step).collect()
}

/// The same up to a largest value.
fn ticks_until([lo, hi]: [f64; 2], most: Option<f64>) -> Vec<f64> {
    let mut all = ticks([lo, hi]);
    let Some(most) = most else {
        return all;
    };
    all.retain(|tick| *tick <= most);
    match all.len() {
        0 | 1 => vec![most - 0.1 * most.abs().max(1.0), most],
        _ => all,
    }
}

/// A number with at most three digits after the point.
fn number(x: f64) -> String {
    ((x * 1e3).round() / 1e3).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_enclose_the_range() {
        assert_eq!(ticks([0.3, 4.1]), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(ticks([90.0, 99.0]), [90.0, 92.0, 94.0, 96.0, 98.0, 100.0]);
        assert_eq!(ticks_until([100.0, 100.0], Some(100.0)), [90.0, 100.0]);
        assert_eq!(ticks_until([90.0, 99.0], Some(100.0)), ticks([90.0, 99.0]));
        for range in [[5.0, 5.0], [0.0, 0.0], [1e-9, 3.0], [-2.0, 7e5]] {
            let ticks = ticks(range);
            assert!((2..10).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks[0] <= range[0] && ticks[ticks.len() - 1] >= range[1]);
        }
    }

    #[test]
    fn points_lie_where_the_axes_say() {
        let line = |name: &str, points: &[[f64; 2]]| Line {
            name: name.into(),
            points: points.to_vec(),
        };
        let lines = vec![
            line("a", &[[10.0, 1.0], [1000.0, 0.0]]),
            line("b", &[[100.0, 1.0]]),
        ];
        let panel = Panel {
            name: "y".into(),
            most: None,
            lines,
        };
        let plot = Plot::new("x", &[panel]);
        let at = |column: usize, row: usize| {
            let at = 3 * (row * WIDTH + column);
            [0, 1, 2].map(|i| plot.pixels[at + i])
        };
        // On the logarithmic axis 100 is in the middle of 10 and 1000, and so is the line at half the height.
        let middle = MARGIN[0] + (WIDTH - MARGIN[0] - MARGIN[2]) / 2;
        assert_eq!(at(middle, MARGIN[1]), COLORS[1]);
        assert_eq!(at(middle, MARGIN[1] + HEIGHT / 2), COLORS[0]);
        let image = image::load_from_memory(&plot.png()).unwrap();
        assert_eq!(image.width() as usize, WIDTH);
        // Nothing to draw is no panic.
        let empty = Panel {
            name: "y".into(),
            most: None,
            lines: Vec::new(),
        };
        assert!(Plot::new("x", &[empty]).png().starts_with(b"\x89PNG"));
    }
}
