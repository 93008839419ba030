//! Points, family by family, as requests of bounded size: `ExportMetricsServiceRequest` (opentelemetry-proto 1.x,
//! `metrics.proto`). Pure.
//!
//! How a family becomes a metric is the specification's ("Prometheus and OpenMetrics Compatibility"): the name stays as it is,
//! HELP is the description, the unit is that of the name, and TYPE, which is said in the metadata too, decides the kind. A
//! counter is a monotonic cumulative sum, a gauge and what has no type is a gauge.

use std::collections::VecDeque;

use super::protobuf::{bytes, double, fixed, message, number, packed};

/// A request ends with the point that reaches one of these; together with one more page it is all that is in memory.
/// Compressed it is far below the megabyte that proxies let in unless they are told otherwise.
pub(super) const POINTS_MAX: u64 = 8_192;
pub(super) const BYTES_MAX: usize = 1 << 20;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`
const CUMULATIVE: u64 = 2;

/// Field numbers that points of all kinds have.
const START_TIME: u32 = 2;
const TIME: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Unknown,
}

impl Kind {
    /// By Prometheus's word.
    pub fn of(word: &str) -> Self {
        match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            _ => Self::Unknown,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
        }
    }

    /// The field of a metric that holds its points.
    fn field(self) -> u32 {
        match self {
            Self::Gauge | Self::Unknown => 5,
            Self::Counter => 7,
            Self::Histogram => 9,
            Self::Summary => 11,
        }
    }

    /// The field of a point that holds its attributes.
    fn attributes(self) -> u32 {
        if self == Self::Histogram { 9 } else { 7 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    pub name: String,
    pub help: String,
    pub kind: Kind,
}

impl Family {
    /// As OpenMetrics has it, the unit is the last word of a family's name.
    fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").filter(|_| self.kind == Kind::Counter).unwrap_or(&self.name);
        match name.rsplit('_').next() {
            // Of a rate, the whole is the unit, and what is counted has none.
            _ if name.ends_with("_per_second") => "",
            Some("seconds") => "s",
            Some("milliseconds") => "ms",
            Some("bytes") => "By",
            Some("ratio") => "1",
            _ => "",
        }
    }
}

/// What is said of every point.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// Attributes of the resource, in this order.
    pub resource: Vec<(String, String)>,
    /// When all counters began, in nanoseconds since 1970.
    pub began_ns: u64,
    /// When the values were taken.
    pub now_ns: u64,
}

/// Bytes to send, and how many points are in them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub body: Vec<u8>,
    pub points: u64,
}

/// The attributes of a point. A label without a value is none, as in Prometheus.
pub(super) struct Attributes<'o> {
    out: &'o mut Vec<u8>,
    field: u32,
}

impl Attributes<'_> {
    pub fn add(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            attribute(self.out, self.field, key, value);
        }
    }
}

/// A `KeyValue` with a text.
fn attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    message(out, field, |out| {
        bytes(out, 1, key.as_bytes());
        message(out, 2, |out| bytes(out, 1, value.as_bytes()));
    });
}

/// What a histogram says, with counts that include those of the buckets below.
#[derive(Debug)]
pub(super) struct Histogram {
    pub count: u64,
    pub sum: f64,
    /// Upper bounds, without infinity.
    pub buckets: Vec<(f64, u64)>,
}

/// What a summary says.
#[derive(Debug)]
pub(super) struct Summary {
    pub count: u64,
    pub sum: f64,
    pub quantiles: Vec<(f64, f64)>,
}

/// Takes points, and gives requests.
#[derive(Debug)]
pub(super) struct Builder {
    about: About,
    family: Option<Family>,
    /// Of the family, in the request that is open.
    points: Vec<u8>,
    /// Of the families before it.
    metrics: Vec<u8>,
    count: u64,
    whole: VecDeque<Request>,
    points_max: u64,
    bytes_max: usize,
}

impl Builder {
    pub fn new(about: About) -> Self {
        Self::bounded(about, POINTS_MAX, BYTES_MAX)
    }

    pub fn bounded(about: About, points_max: u64, bytes_max: usize) -> Self {
        Self {
            about,
            family: None,
            points: Vec::new(),
            metrics: Vec::new(),
            count: 0,
            whole: VecDeque::new(),
            points_max,
            bytes_max,
        }
    }

    pub fn begin(&mut self, family: Family) {
        self.close_family();
        self.family = Some(family);
    }

    pub fn family(&self) -> Option<&Family> {
        self.family.as_ref()
    }

    /// A sample of a counter or a gauge: `write` adds its attributes, and has its value. What has none is left out, and so is
    /// what is not a number: unknown is absent.
    pub fn sample(&mut self, write: impl FnOnce(&mut Attributes<'_>) -> Option<f64>) {
        self.point(|out, attributes| {
            let value = write(&mut Attributes { out, field: attributes }).filter(|value| !value.is_nan())?;
            double(out, 4, value);
            Some(())
        });
    }

    pub fn histogram(&mut self, histogram: &Histogram, write: impl FnOnce(&mut Attributes<'_>)) {
        self.point(|out, attributes| {
            write(&mut Attributes { out, field: attributes });
            fixed(out, 4, histogram.count);
            double(out, 5, histogram.sum);
            let reached = histogram.buckets.iter().map(|(_, count)| *count);
            let mut counts: Vec<u64> = Vec::with_capacity(histogram.buckets.len() + 1);
            let mut below = 0;
            for upto in reached.chain([histogram.count]) {
                counts.push(upto.saturating_sub(below));
                below = upto;
            }
            packed(out, 6, counts.into_iter());
            packed(out, 7, histogram.buckets.iter().map(|(bound, _)| bound.to_bits()));
            Some(())
        });
    }

    pub fn summary(&mut self, summary: &Summary, write: impl FnOnce(&mut Attributes<'_>)) {
        self.point(|out, attributes| {
            write(&mut Attributes { out, field: attributes });
            fixed(out, 4, summary.count);
            double(out, 5, summary.sum);
            for (quantile, value) in &summary.quantiles {
                message(out, 6, |out| {
                    double(out, 1, *quantile);
                    double(out, 2, *value);
                });
            }
            Some(())
        });
    }

    fn point(&mut self, write: impl FnOnce(&mut Vec<u8>, u32) -> Option<()>) {
        let Some(kind) = self.family.as_ref().map(|family| family.kind) else { return };
        let (before, About { began_ns, now_ns, .. }) = (self.points.len(), &self.about);
        let written = message(&mut self.points, 1, |out| {
            write(out, kind.attributes())?;
            if matches!(kind, Kind::Counter | Kind::Histogram | Kind::Summary) {
                fixed(out, START_TIME, *began_ns);
            }
            fixed(out, TIME, *now_ns);
            Some(())
        });
        if written.is_none() {
            self.points.truncate(before);
            return;
        }
        self.count += 1;
        if self.count >= self.points_max || self.metrics.len() + self.points.len() >= self.bytes_max {
            self.close_request();
        }
    }

    /// Writes the metric of the family that is open, which stays open.
    fn close_family(&mut self) {
        let Some(family) = self.family.as_ref().filter(|_| !self.points.is_empty()) else { return };
        message(&mut self.metrics, 2, |out| {
            bytes(out, 1, family.name.as_bytes());
            bytes(out, 2, family.help.as_bytes());
            bytes(out, 3, family.unit().as_bytes());
            message(out, family.kind.field(), |out| {
                out.extend_from_slice(&self.points);
                if matches!(family.kind, Kind::Counter | Kind::Histogram) {
                    number(out, 2, CUMULATIVE);
                }
                if family.kind == Kind::Counter {
                    number(out, 3, true.into());
                }
            });
            attribute(out, 12, "prometheus.type", family.kind.word());
        });
        self.points.clear();
    }

    fn close_request(&mut self) {
        self.close_family();
        if self.count == 0 {
            return;
        }
        let mut body = Vec::with_capacity(self.metrics.len() + 512);
        message(&mut body, 1, |out| {
            message(out, 1, |out| {
                self.about.resource.iter().for_each(|(key, value)| attribute(out, 1, key, value));
            });
            message(out, 2, |out| {
                message(out, 1, |out| {
                    bytes(out, 1, env!("CARGO_PKG_NAME").as_bytes());
                    bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
                });
                out.extend_from_slice(&self.metrics);
            });
        });
        self.metrics.clear();
        self.whole.push_back(Request { body, points: std::mem::take(&mut self.count) });
    }

    /// There are no more points.
    pub fn end(&mut self) {
        self.close_request();
        self.family = None;
    }

    /// The next request that is whole.
    pub fn request(&mut self) -> Option<Request> {
        self.whole.pop_front()
    }
}
