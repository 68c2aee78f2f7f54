//! The plot: answers to log-ins above, latencies below. Plain SVG, written without a library.

use std::fmt::Write;
use std::time::Duration;

use super::tally::{Kind, Outcome, Phase};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 64.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 64.0;
const TOP: f64 = 56.0;
/// The mean width of a character of the labels, in a wide font.
const CHARACTER: f64 = 6.7;
/// The square before a name of the legend, and the space after it.
const MARK: f64 = 14.0;
/// The space between two names of the legend.
const LEGEND_GAP: f64 = 20.0;

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
    // Not by adding up: a tenth three times is 0.30000000000000004, and no label for people.
    for number in 0..=(most / step).round() as u32 {
        let line = f64::from(number) * step;
        let at = y(line);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#d0d7de\"/><text x=\"{}\" \
             y=\"{:.1}\" text-anchor=\"end\" fill=\"#57606a\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            rounded(line)
        );
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
    let mut legend = LEFT + width_of(what) + LEGEND_GAP;
    for Series { name, colour, values } in series {
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
            legend + MARK,
            top - 10.0,
        );
        legend += MARK + width_of(name) + LEGEND_GAP;
    }
}

/// Returns a width that no font gives more of to `text` in the size of the labels.
fn width_of(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// Returns a number of the scale with the digits that its step has.
fn rounded(line: f64) -> String {
    let text = format!("{line:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns the smallest step of 1, 2 or 5 times a power of ten that is not below `least`.
fn nice(least: f64) -> f64 {
    let power = 10_f64.powf(least.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= least).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of a picture: where each begins and ends, its baseline, and itself.
    fn texts(svg: &str) -> Vec<(f64, f64, String, String)> {
        let texts = svg.split("<text ").skip(1).map(|text| {
            let (attributes, rest) = text.split_once('>').unwrap();
            let of = |name: &str| {
                let (_, value) = attributes.split_once(&format!("{name}=\""))?;
                Some(value.split('"').next().unwrap().to_owned())
            };
            let text = rest.split('<').next().unwrap().to_owned();
            let x: f64 = of("x").unwrap().parse().unwrap();
            let size: f64 = of("font-size").map_or(12.0, |size| size.parse().unwrap());
            let width = text.chars().count() as f64 * CHARACTER * size / 12.0;
            let begin = match of("text-anchor").as_deref() {
                Some("end") => x - width,
                Some("middle") => x - width / 2.0,
                _ => x,
            };
            (begin, begin + width, of(" y").unwrap(), text)
        });
        texts.collect()
    }

    /// Kind of fault: a label that runs into the next one, or out of the picture.
    #[test]
    fn no_label_runs_into_another_one_or_out_of_the_picture() {
        for (seconds, log_ins) in [(1, 1), (12, 9), (60, 2_000), (600, 3)] {
            let points: Vec<Point> = (1..=seconds * 2)
                .map(|number| {
                    let mut phase = Phase::default();
                    for _ in 0..log_ins {
                        phase.note(Kind::Known, Outcome::Done, Duration::from_micros(300));
                    }
                    let at = Duration::from_millis(500 * number);
                    Point { at, phase, span: Duration::from_millis(500) }
                })
                .collect();
            let title = "10000 log-ins per second for 600 s, of which 1000 can be hashed (128 threads)";
            let svg = plot(title, &points);
            let texts = texts(&svg);
            assert!(texts.len() > 20, "{}", texts.len());
            for (number, (begin, end, line, text)) in texts.iter().enumerate() {
                assert!(*begin >= 0.0 && *end <= WIDTH, "{text:?} is cut off: {begin} to {end}");
                assert!(text.chars().count() < 100 && !text.contains("00000000"), "{text:?}");
                for (other_begin, other_end, other_line, other) in texts.iter().skip(number + 1) {
                    let overlaps = line == other_line && begin < other_end && other_begin < end;
                    assert!(!overlaps, "{text:?} runs into {other:?}");
                }
            }
        }
    }
}
