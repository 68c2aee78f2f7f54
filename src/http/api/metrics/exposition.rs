//! The text of figures, in the format of OpenMetrics or in the older one of Prometheus.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// A format of figures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4, which every collector reads.
    Plain,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The labels of a value.
pub(super) type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// A figure with all its values.
#[derive(Debug)]
pub(super) struct Figure {
    /// The name, without the `_total` of a counter.
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) values: Vec<(Labels, Value)>,
}

/// One value.
#[derive(Debug)]
pub(super) enum Value {
    /// A number of things.
    Count(u64),
    /// A measure: seconds, or a ratio.
    Measure(f64),
    /// How values are spread over buckets.
    Spread {
        sum: f64,
        /// The upper bound of each bucket and the number in it.
        buckets: Vec<(f64, u64)>,
    },
}

#[derive(Debug)]
struct Figures(Vec<Figure>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for Figure { name, help, kind, values } in &self.0 {
            let mut metric = encoder.encode_descriptor(name, help, None, *kind)?;
            for (labels, value) in values {
                if labels.is_empty() {
                    encode_value(&mut metric, *kind, value)?;
                } else {
                    encode_value(&mut metric.encode_family(labels)?, *kind, value)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(metric: &mut MetricEncoder<'_>, kind: MetricType, value: &Value) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Value::Count(count)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(count, None)
        }
        (MetricType::Counter, Value::Measure(measure)) => {
            metric.encode_counter::<NoLabelSet, _, u64>(measure, None)
        }
        (_, Value::Count(count)) => metric.encode_gauge(count),
        (_, Value::Measure(measure)) => metric.encode_gauge(measure),
        (_, Value::Spread { sum, buckets }) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

/// Returns the text of `figures`.
pub(super) fn text(figures: Vec<Figure>, format: Format) -> String {
    let counters = figures.iter().filter(|figure| figure.kind.as_str() == MetricType::Counter.as_str());
    let counters: Vec<&str> = counters.map(|figure| figure.name).collect();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(figures)));
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = encode(&mut text, &registry);
    match format {
        Format::OpenMetrics => text,
        Format::Plain => plain(&text, &counters),
    }
}

/// Turns OpenMetrics into the older format: a counter has the name of its samples, and the text has no mark of its end.
fn plain(open_metrics: &str, counters: &[&str]) -> String {
    let mut plain = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what @ ("HELP" | "TYPE")), Some(name), Some(rest))
                if counters.contains(&name) =>
            {
                plain.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            _ => {
                plain.push_str(line);
                plain.push('\n');
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Vec<Figure> {
        let labelled = |status: &'static str| vec![("status", Cow::Borrowed(status))];
        vec![
            Figure {
                name: "a_requests",
                help: "Requests.",
                kind: MetricType::Counter,
                values: vec![(labelled("200"), Value::Count(7)), (labelled("a\"\\\nb"), Value::Count(0))],
            },
            Figure {
                name: "a_wait_seconds",
                help: "Waited.",
                kind: MetricType::Gauge,
                values: vec![(Vec::new(), Value::Measure(0.25))],
            },
            Figure {
                name: "a_seconds",
                help: "Took.",
                kind: MetricType::Histogram,
                values: vec![(
                    labelled("1"),
                    Value::Spread { sum: 1.5, buckets: vec![(0.5, 2), (f64::INFINITY, 1)] },
                )],
            },
        ]
    }

    #[test]
    fn both_formats_have_the_same_samples_and_name_a_counter_by_their_own_rule() {
        let samples = "a_requests_total{status=\"200\"} 7\na_requests_total{status=\"a\\\"\\\\\\nb\"} 0\n";
        let gauge = "# HELP a_wait_seconds Waited.\n# TYPE a_wait_seconds gauge\na_wait_seconds 0.25\n";
        let histogram = "# HELP a_seconds Took.\n# TYPE a_seconds histogram\na_seconds_sum{status=\"1\"} 1.5\n\
                         a_seconds_count{status=\"1\"} 3\na_seconds_bucket{le=\"0.5\",status=\"1\"} 2\n\
                         a_seconds_bucket{le=\"+Inf\",status=\"1\"} 3\n";
        let open = "# HELP a_requests Requests.\n# TYPE a_requests counter\n";
        let expected = format!("{open}{samples}{gauge}{histogram}# EOF\n");
        assert_eq!(text(figures(), Format::OpenMetrics), expected);
        let plain = "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\n";
        assert_eq!(text(figures(), Format::Plain), format!("{plain}{samples}{gauge}{histogram}"));
    }
}
