//! OpenMetrics 1.0: who asks for it, and how its text differs from Prometheus's. Pure.

use std::collections::HashSet;

use prometheus::proto::{MetricFamily, MetricType};

use super::Format;

/// What the whole text ends with, so that a scraper knows that it has all of it.
pub(super) const END: &[u8] = b"# EOF\n";

const TYPE: &str = "application/openmetrics-text";

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What an `Accept` header likes better; Prometheus's own text when it says nothing of OpenMetrics.
    pub(super) fn accepted_by(accept: &str) -> Self {
        let (mut open, mut plain) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let of = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
            let quality: f32 = of("q").map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0);
            match kind {
                TYPE if matches!(of("version"), None | Some("1.0.0")) => open = quality.max(open),
                "text/plain" => plain = quality.max(plain),
                _ => {}
            }
        }
        if open > 0.0 && open >= plain { Self::OpenMetrics } else { Self::Prometheus }
    }
}

/// A counter's family goes without the `_total` of its samples.
pub(super) fn text(prometheus: &str, families: &[MetricFamily]) -> String {
    let counters: HashSet<&str> =
        families.iter().filter(|it| it.get_field_type() == MetricType::COUNTER).map(MetricFamily::name).collect();
    let mut out = String::with_capacity(prometheus.len());
    for line in prometheus.split_inclusive('\n') {
        let name = line.strip_prefix("# ").and_then(|rest| rest.split(' ').nth(1));
        match name.filter(|name| counters.contains(name)).and_then(|name| Some((name, name.strip_suffix("_total")?))) {
            Some((name, family)) => out.push_str(&line.replacen(name, family, 1)),
            None => out.push_str(line),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for() {
        let check = |accept: &str, want| assert_eq!(Format::accepted_by(accept), want, "{accept}");
        check("", Format::Prometheus);
        check("*/*", Format::Prometheus);
        check("text/plain", Format::Prometheus);
        check("application/openmetrics-text", Format::OpenMetrics);
        check("application/openmetrics-text; version=0.0.1", Format::Prometheus);
        check("application/openmetrics-text;q=0", Format::Prometheus);
        check("application/openmetrics-text;q=0.3,text/plain;q=0.5", Format::Prometheus);
        // As Prometheus 2 and 3 ask.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
        check(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
            Format::OpenMetrics,
        );
    }
}
