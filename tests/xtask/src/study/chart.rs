//! Pictures of several plots beside each other.

use super::Spread;
use super::scale::{Scale, label};
use super::svg::{Anchor, INK, Svg};
use anyhow::Result;

/// Colors that people with color blindness tell apart (Okabe and Ito 2008).
pub const COLORS: [&str; 6] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
];

/// An axis of numbers.
#[derive(Debug, Clone)]
pub struct Axis {
    pub label: String,
    pub log: bool,
    /// Values to mark; found if there are none.
    pub ticks: Vec<f64>,
}

impl Axis {
    pub fn linear(label: &str) -> Self {
        let (label, ticks) = (label.to_owned(), Vec::new());
        Axis {
            label,
            log: false,
            ticks,
        }
    }

    pub fn log(label: &str) -> Self {
        Axis {
            log: true,
            ..Axis::linear(label)
        }
    }

    fn ticks(&self, scale: &Scale) -> Vec<f64> {
        match &self.ticks[..] {
            [] => scale.ticks(),
            ticks => ticks.to_vec(),
        }
    }
}

/// Points of one color.
#[derive(Debug)]
pub struct Series {
    /// Its line in the legend; a series without a name has none.
    pub name: String,
    pub color: &'static str,
    /// x, and mean and spread of y.
    pub points: Vec<(f64, Spread)>,
    /// Whether a line joins them.
    pub joined: bool,
}

/// A value of a row.
#[derive(Debug)]
pub struct Mark {
    pub row: String,
    pub value: Option<Spread>,
    /// What stands there without a value.
    pub note: String,
    pub color: &'static str,
}

/// What a plot shows.
#[derive(Debug)]
pub enum Content {
    /// y against x.
    Curves { y: Axis, series: Vec<Series> },
    /// Values of named rows along x; the names stand on the left if they are `named`.
    Rows { marks: Vec<Mark>, named: bool },
}

/// One plot.
#[derive(Debug)]
pub struct Plot {
    pub title: String,
    pub x: Axis,
    pub content: Content,
    /// Width in units of the picture, margins included.
    pub width: f64,
}

/// The plot's frame within the picture.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// Entries of a legend beside each other, and the height of such a line.
const COLUMNS: usize = 2;
const LINE: f64 = 18.0;

/// The plots from left to right, as PNG. `height` is without legends, which are above the frames.
pub fn png(plots: &[Plot], height: f64) -> Result<Vec<u8>> {
    let width = plots.iter().map(|plot| plot.width).sum();
    let lines = |plot: &Plot| plot.legend().len().div_ceil(COLUMNS);
    let most = plots.iter().map(lines).max().unwrap_or(0);
    let top = 38.0 + LINE * most as f64;
    let mut svg = Svg::new([width, height + LINE * most as f64]);
    let mut left = 0.0;
    for plot in plots {
        plot.draw(&mut svg, left, [top, top + height - 86.0]);
        left += plot.width;
    }
    svg.png()
}

impl Plot {
    /// The series that have a name.
    fn legend(&self) -> Vec<&Series> {
        match &self.content {
            Content::Curves { series, .. } => {
                series.iter().filter(|s| !s.name.is_empty()).collect()
            }
            Content::Rows { .. } => Vec::new(),
        }
    }

    fn draw(&self, svg: &mut Svg, left: f64, [top, bottom]: [f64; 2]) {
        let margin = match &self.content {
            Content::Curves { .. } => 62.0,
            Content::Rows { named: true, .. } => 190.0,
            Content::Rows { named: false, .. } => 16.0,
        };
        let frame = Frame {
            left: left + margin,
            right: left + self.width - 16.0,
            top,
            bottom,
        };
        svg.title([frame.left, 24.0], &self.title);
        let column = (frame.right - frame.left) / COLUMNS as f64;
        for (i, series) in self.legend().into_iter().enumerate() {
            let x = frame.left + column * (i % COLUMNS) as f64;
            let y = 46.0 + LINE * (i / COLUMNS) as f64;
            svg.circle([x + 4.0, y - 4.0], series.color);
            svg.text([x + 14.0, y], &series.name, Anchor::Start);
        }
        match &self.content {
            Content::Curves { y, series } => self.curves(svg, &frame, y, series),
            Content::Rows { marks, named } => self.rows(svg, &frame, marks, *named),
        }
        for (from, to) in [
            ([frame.left, frame.bottom], [frame.right, frame.bottom]),
            ([frame.left, frame.bottom], [frame.left, frame.top]),
        ] {
            svg.line(from, to, INK, 1.0);
        }
    }

    /// Draws the marks of the axis x and returns its scale.
    fn x_axis(&self, svg: &mut Svg, frame: &Frame, values: impl Iterator<Item = f64>) -> Scale {
        let scale = Scale::fit(values, self.x.log, [frame.left, frame.right]);
        for tick in self.x.ticks(&scale) {
            let x = scale.place(tick);
            svg.grid_line([x, frame.top], [x, frame.bottom]);
            svg.text([x, frame.bottom + 17.0], &label(tick), Anchor::Middle);
        }
        let middle = f64::midpoint(frame.left, frame.right);
        svg.text([middle, frame.bottom + 36.0], &self.x.label, Anchor::Middle);
        scale
    }

    fn curves(&self, svg: &mut Svg, frame: &Frame, y_axis: &Axis, series: &[Series]) {
        let points = || series.iter().flat_map(|series| &series.points);
        let x = self.x_axis(svg, frame, points().map(|(x, _)| *x));
        let ends = points().flat_map(|(_, y)| <[f64; 2]>::from(y.ends()));
        let y = Scale::fit(ends, y_axis.log, [frame.bottom, frame.top]);
        for tick in y_axis.ticks(&y) {
            let place = y.place(tick);
            svg.grid_line([frame.left, place], [frame.right, place]);
            svg.text([frame.left - 6.0, place + 4.0], &label(tick), Anchor::End);
        }
        let middle = f64::midpoint(frame.top, frame.bottom);
        svg.upright([frame.left - 44.0, middle], &y_axis.label);

        for series in series {
            let at = |(value, spread): &(f64, Spread)| [x.place(*value), y.place(spread.mean)];
            if series.joined {
                for pair in series.points.windows(2) {
                    svg.line(at(&pair[0]), at(&pair[1]), series.color, 1.6);
                }
            }
            for point in &series.points {
                let (low, high) = point.1.ends();
                let place = at(point);
                let ends = [low, high].map(|end| [place[0], y.place(end)]);
                svg.line(ends[0], ends[1], series.color, 1.6);
                svg.circle(place, series.color);
            }
        }
    }

    fn rows(&self, svg: &mut Svg, frame: &Frame, marks: &[Mark], named: bool) {
        let ends = marks.iter().filter_map(|mark| mark.value);
        let x = self.x_axis(
            svg,
            frame,
            ends.flat_map(|value| <[f64; 2]>::from(value.ends())),
        );
        let height = (frame.bottom - frame.top) / marks.len() as f64;
        for (i, mark) in marks.iter().enumerate() {
            let y = frame.top + (i as f64 + 0.5) * height;
            svg.grid_line([frame.left, y], [frame.right, y]);
            if named {
                svg.text([frame.left - 8.0, y + 4.0], &mark.row, Anchor::End);
            }
            let Some(value) = mark.value else {
                svg.text([frame.left + 8.0, y + 4.0], &mark.note, Anchor::Start);
                continue;
            };
            let (low, high) = value.ends();
            svg.line([x.place(low), y], [x.place(high), y], mark.color, 1.6);
            svg.circle([x.place(value.mean), y], mark.color);
        }
    }
}
