//! What `/metrics` says, as points: families that are values, and text that is read. Pure.

use std::borrow::Cow;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::request::{About, Attributes, Builder, Family, Histogram, Kind, Request, Summary};
use crate::telemetry::Pages;

/// Requests, each made when it is asked for; of the text, a page at a time is there.
pub(super) struct Requests {
    builder: Builder,
    families: Vec<MetricFamily>,
    pages: Pages,
    help: Help,
    ended: bool,
}

impl Requests {
    pub fn new(about: About, families: Vec<MetricFamily>, pages: Pages) -> Self {
        Self { builder: Builder::new(about), families, pages, help: Help::default(), ended: false }
    }
}

impl Iterator for Requests {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            if let Some(request) = self.builder.request() {
                return Some(request);
            }
            if self.ended {
                return None;
            }
            if !self.families.is_empty() {
                std::mem::take(&mut self.families).iter().for_each(|family| add(&mut self.builder, family));
            } else if let Some(page) = self.pages.next() {
                read(&mut self.builder, &mut self.help, &page);
            } else {
                self.builder.end();
                self.ended = true;
            }
        }
    }
}

/// Adds a family of the registry.
fn add(builder: &mut Builder, family: &MetricFamily) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::GAUGE => Kind::Gauge,
        MetricType::HISTOGRAM => Kind::Histogram,
        MetricType::SUMMARY => Kind::Summary,
        MetricType::UNTYPED => Kind::Unknown,
    };
    builder.begin(Family { name: family.name().to_owned(), help: family.help().to_owned(), kind });
    for metric in family.get_metric() {
        match kind {
            Kind::Counter => sample(builder, metric, metric.get_counter().get_value()),
            Kind::Gauge => sample(builder, metric, metric.get_gauge().get_value()),
            // What a library calls untyped, it has no value of.
            Kind::Unknown => {}
            Kind::Histogram => builder.histogram(&histogram(metric), |to| labels(metric, to)),
            Kind::Summary => builder.summary(&summary(metric), |to| labels(metric, to)),
        }
    }
}

fn labels(metric: &Metric, to: &mut Attributes<'_>) {
    metric.get_label().iter().for_each(|label| to.add(label.name(), label.value()));
}

fn sample(builder: &mut Builder, metric: &Metric, value: f64) {
    builder.sample(|to| {
        labels(metric, to);
        Some(value)
    });
}

fn histogram(metric: &Metric) -> Histogram {
    let it = metric.get_histogram();
    let buckets = it.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
    Histogram {
        count: it.get_sample_count(),
        sum: it.get_sample_sum(),
        buckets: buckets.filter(|(bound, _)| bound.is_finite()).collect(),
    }
}

fn summary(metric: &Metric) -> Summary {
    let it = metric.get_summary();
    let quantiles = it.get_quantile().iter().map(|it| (it.quantile(), it.value()));
    Summary {
        count: it.sample_count(),
        sum: it.sample_sum(),
        quantiles: quantiles.filter(|(_, value)| !value.is_nan()).collect(),
    }
}

/// The last HELP, which stands before its family's TYPE.
#[derive(Debug, Default)]
struct Help {
    name: String,
    text: String,
}

/// Adds a page of Prometheus's text format 0.0.4. A line that is not of it is passed over, as a mistake in one family must
/// not cost the others; histograms and summaries are nothing that a text source writes.
fn read(builder: &mut Builder, help: &mut Help, page: &[u8]) {
    for line in page.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok()) {
        match line.strip_prefix('#') {
            Some(comment) => read_comment(builder, help, comment),
            None => read_sample(builder, line),
        }
    }
}

fn read_comment(builder: &mut Builder, help: &mut Help, comment: &str) {
    let mut words = comment.trim_start().splitn(3, ' ');
    let (word, name, rest) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match word {
        Some("HELP") => *help = Help { name: name.to_owned(), text: unescaped(rest).into_owned() },
        Some("TYPE") => {
            let text = if help.name == name { std::mem::take(&mut help.text) } else { String::new() };
            builder.begin(Family { name: name.to_owned(), help: text, kind: Kind::of(rest.trim()) });
        }
        _ => {}
    }
}

fn read_sample(builder: &mut Builder, line: &str) {
    let end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return;
    }
    let of_family = |family: &Family| family.name == name && !matches!(family.kind, Kind::Histogram | Kind::Summary);
    if !builder.family().is_some_and(of_family) {
        builder.begin(Family { name: name.to_owned(), help: String::new(), kind: Kind::Unknown });
    }
    builder.sample(|to| {
        let rest = match rest.strip_prefix('{') {
            Some(labels) => read_labels(labels, to)?,
            None => rest,
        };
        // A time may follow, which is not that of the values that are asked for now.
        rest.split_ascii_whitespace().next()?.parse().ok()
    });
}

/// Adds `key="value",…}`, and gives what comes after that.
fn read_labels<'t>(mut text: &'t str, to: &mut Attributes<'_>) -> Option<&'t str> {
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some(rest);
        }
        let (key, rest) = text.split_once("=\"")?;
        let end = closing(rest)?;
        to.add(key.trim(), &unescaped(&rest[..end]));
        text = &rest[end + 1..];
    }
}

/// Where the quote is that ends a value.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let (mut out, mut letters) = (String::with_capacity(text.len()), text.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                other => out.push(other.unwrap_or('\\')),
            },
            _ => out.push(letter),
        }
    }
    out.into()
}
