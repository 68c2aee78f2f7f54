//! The plot: answers to log-ins above, latencies below. Plain SVG, written without a library.

use std::fmt::Write;
use std::time::Duration;

use super::tally::{Kind, Outcome, Phase};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 64.0;
const TOP: f64 = 56.0;

/// One interval of the storm.
pub(super) struct Point {
    /// Its end, from the beginning of the storm.
    pub(super) at: Duration,
    /// The answers counted in it.
    pub(super) phase: Phase,
    /// Its length.
    pub(super) span: Duration,
}

struct Series {
    name: &'static str,
    colour: &'static str,
    values: Vec<f64>,
}

/// Returns the whole picture as SVG.
pub(super) fn plot(title: &str, points: &[Point]) -> String {
    let height = TOP + PANEL * 2.0 + GAP + 56.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/><text x=\"{LEFT}\" y=\"22\" \
         font-size=\"14\">{title}</text>"
    );
    let rate = |outcome: Outcome| -> Vec<f64> {
        points.iter().map(|point| point.phase.log_ins(outcome) as f64 / point.span.as_secs_f64()).collect()
    };
    let rates = [
        Series { name: "logged in", colour: "#1a7f37", values: rate(Outcome::Done) },
        Series { name: "401", colour: "#8250df", values: rate(Outcome::Wrong) },
        Series { name: "429", colour: "#bf8700", values: rate(Outcome::Limited) },
        Series { name: "503", colour: "#cf222e", values: rate(Outcome::Shed) },
    ];
    panel(&mut svg, TOP, "log-ins per second, by answer", &rates, points);
    let latency = |kind: Kind| -> Vec<f64> {
        points.iter().map(|point| point.phase.of(kind).at(0.99).as_secs_f64() * 1000.0).collect()
    };
    let latencies = [
        Series { name: "log-in, known device", colour: "#1a7f37", values: latency(Kind::Known) },
        Series { name: "refresh", colour: "#0969da", values: latency(Kind::Refresh) },
        Series { name: "session", colour: "#bf3989", values: latency(Kind::Session) },
    ];
    panel(&mut svg, TOP + PANEL + GAP, "p99 of each half second, in milliseconds", &latencies, points);
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, top: f64, what: &str, series: &[Series], points: &[Point]) {
    let right = WIDTH - 20.0;
    let most = series.iter().flat_map(|one| &one.values).copied().fold(1.0, f64::max);
    let step = nice(most / 4.0);
    let most = (most / step).ceil() * step;
    let end = points.last().map_or(1.0, |point| point.at.as_secs_f64()).max(1.0);
    let bottom = top + PANEL;
    let x = |at: f64| LEFT + at / end * (right - LEFT);
    let y = |value: f64| bottom - value / most * PANEL;
    // Writing to a String cannot fail.
    let _ = write!(svg, "<text x=\"{LEFT}\" y=\"{}\" fill=\"#57606a\">{what}</text>", top - 10.0);
    let mut line = 0.0;
    while line <= most {
        let at = y(line);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d0d7de\"/><text x=\"{}\" \
             y=\"{:.1}\" text-anchor=\"end\" fill=\"#57606a\">{line}</text>",
            LEFT - 8.0,
            at + 4.0
        );
        line += step;
    }
    let seconds = nice(end / 8.0).max(1.0);
    let mut second = 0.0;
    while second <= end {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#57606a\">{second} s</text>",
            x(second),
            bottom + 18.0
        );
        second += seconds;
    }
    for (number, Series { name, colour, values }) in series.iter().enumerate() {
        let path: String = points
            .iter()
            .zip(values)
            .map(|(point, value)| format!("{:.1},{:.1} ", x(point.at.as_secs_f64()), y(*value)))
            .collect();
        let _ = write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/><rect x=\"{legend:.0}\" \
             y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{}\">{name}</text>",
            path.trim_end(),
            top - 19.0,
            legend(number) + 14.0,
            top - 10.0,
            legend = legend(number)
        );
    }
}

fn legend(number: usize) -> f64 {
    LEFT + 300.0 + 145.0 * number as f64 * 0.9
}

/// Returns the smallest step of 1, 2 or 5 times a power of ten that is not below `least`.
fn nice(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= least).unwrap_or(least)
}
