//! What is pushed, read by the code that OpenTelemetry generates from its own definitions, and a receiver that behaves as it is
//! told to.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric, number_data_point};
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::{Compression, Config};
use super::convert::Requests;
use super::endpoint::Endpoint;
use super::protobuf;
use super::request::{About, BYTES_MAX, Builder, Family, Kind, POINTS_MAX};
use super::run::Exporter;
use crate::net::{Address, Attempt, Dial, Io};
use crate::telemetry::{Format, Pages, Telemetry};

const BEGAN: u64 = 1_000;
const NOW: u64 = 2_000;

fn about() -> About {
    About { resource: vec![("service.name".to_owned(), "highwater".to_owned())], began_ns: BEGAN, now_ns: NOW }
}

fn decoded(body: &[u8]) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(body).unwrap()
}

fn metrics(request: &ExportMetricsServiceRequest) -> &[Metric] {
    let [resource] = &*request.resource_metrics else { panic!("one resource") };
    let [scope] = &*resource.scope_metrics else { panic!("one scope") };
    &scope.metrics
}

fn text_of(attribute: &KeyValue) -> &str {
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// `{a="b",c="d"}`, as `/metrics` has it.
fn labels(attributes: &[KeyValue], more: Option<(&str, String)>) -> String {
    let escaped = |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    let own = attributes.iter().map(|it| format!("{}=\"{}\"", it.key, escaped(text_of(it))));
    let all: Vec<_> = own.chain(more.map(|(key, value)| format!("{key}=\"{value}\""))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

fn value(point: &NumberDataPoint) -> f64 {
    match point.value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        other => panic!("{other:?}"),
    }
}

/// The samples of a metric as `/metrics` would have them.
fn samples(metric: &Metric) -> Vec<(String, f64)> {
    let name = &metric.name;
    let number = |point: &NumberDataPoint| (format!("{name}{}", labels(&point.attributes, None)), value(point));
    match metric.data.as_ref().unwrap() {
        metric::Data::Gauge(gauge) => gauge.data_points.iter().map(number).collect(),
        metric::Data::Sum(sum) => sum.data_points.iter().map(number).collect(),
        metric::Data::Histogram(histogram) => {
            let of_point = |point: &opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint| {
                let bounds = point.explicit_bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                let mut reached = 0;
                let mut all: Vec<_> = bounds
                    .zip(&point.bucket_counts)
                    .map(|(bound, count)| {
                        reached += count;
                        let name = format!("{name}_bucket{}", labels(&point.attributes, Some(("le", bound))));
                        (name, reached as f64)
                    })
                    .collect();
                assert_eq!(all.len(), point.explicit_bounds.len() + 1);
                let plain = labels(&point.attributes, None);
                all.push((format!("{name}_sum{plain}"), point.sum.unwrap()));
                all.push((format!("{name}_count{plain}"), point.count as f64));
                all
            };
            histogram.data_points.iter().flat_map(of_point).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn rows(bodies: &[Vec<u8>]) -> BTreeMap<String, f64> {
    let decoded: Vec<_> = bodies.iter().map(|body| decoded(body)).collect();
    decoded.iter().flat_map(|request| metrics(request).iter().flat_map(samples)).collect()
}

/// The samples of a text.
fn rows_of(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let row = |line: &str| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    };
    lines.map(row).collect()
}

fn scraped(telemetry: &Telemetry) -> String {
    let pages: Vec<u8> = telemetry.exposition(Format::Prometheus).unwrap().flatten().collect();
    String::from_utf8(pages).unwrap()
}

/// A metric in a line: kind, unit, start time, description and samples.
fn line(metric: &Metric) -> String {
    let starts = |point: &NumberDataPoint| (point.start_time_unix_nano, point.time_unix_nano);
    let (kind, times) = match metric.data.as_ref().unwrap() {
        metric::Data::Gauge(it) => ("gauge", it.data_points.iter().map(starts).collect::<Vec<_>>()),
        metric::Data::Sum(it) => {
            assert!(it.is_monotonic && it.aggregation_temporality == 2, "{it:?}");
            ("sum", it.data_points.iter().map(starts).collect())
        }
        other => panic!("{other:?}"),
    };
    let start = if kind == "sum" { BEGAN } else { 0 };
    assert!(times.iter().all(|times| *times == (start, NOW)), "{times:?}");
    let [of] = &*metric.metadata else { panic!("{:?}", metric.metadata) };
    assert_eq!(of.key, "prometheus.type");
    let samples: Vec<_> = samples(metric).iter().map(|(name, value)| format!("{name} {value}")).collect();
    format!("{kind}/{} [{}] {:?} {}", text_of(of), metric.unit, metric.description, samples.join(" "))
}

#[test]
fn text_becomes_points() {
    let check = |pages: &[&str], want: &[&str]| {
        let pages: Vec<Vec<u8>> = pages.iter().map(|page| page.as_bytes().to_vec()).collect();
        let requests: Vec<_> = Requests::new(about(), Vec::new(), Box::new(pages.clone().into_iter())).collect();
        let decoded: Vec<_> = requests.iter().map(|request| decoded(&request.body)).collect();
        let got: Vec<_> = decoded.iter().flat_map(|request| metrics(request).iter().map(line)).collect();
        assert_eq!(got, want, "{:?}", pages.concat());
    };
    check(&[""], &[]);
    check(
        &["# HELP m_seconds Words, and \\\\ and \\n.\n# TYPE m_seconds gauge\nm_seconds{a=\"b\",c=\"d\"} 0.5\n"],
        &["gauge/gauge [s] \"Words, and \\\\ and \\n.\" m_seconds{a=\"b\",c=\"d\"} 0.5"],
    );
    // A family goes on where a page ends.
    check(
        &["# TYPE m_total counter\nm_total 1\n", "m_total{a=\"b\"} 2\n"],
        &["sum/counter [] \"\" m_total 1 m_total{a=\"b\"} 2"],
    );
    check(
        &["# TYPE a_bytes_total counter\na_bytes_total 1\n# TYPE b gauge\nb -3\n"],
        &["sum/counter [By] \"\" a_bytes_total 1", "gauge/gauge [] \"\" b -3"],
    );
    // A family without samples is not there, and its words are not another's.
    check(&["# HELP a A.\n# TYPE a gauge\n# HELP b B.\n# TYPE c gauge\nc 1\n"], &["gauge/gauge [] \"\" c 1"]);
    check(
        &["# TYPE m gauge\nm NaN\nm{a=\"b\"} +Inf\nm{a=\"c\"} -Inf\n"],
        &["gauge/gauge [] \"\" m{a=\"b\"} inf m{a=\"c\"} -inf"],
    );
    // A label without a value is none, and a value may have anything in it.
    check(
        &["# TYPE m gauge\nm{a=\"\",b=\"}\\\"\\\\\\n, x=\\\"\"} 1\nm{a=\"\"} 2 1700000000000\n"],
        &[r#"gauge/gauge [] "" m{b="}\"\\\n, x=\""} 1 m 2"#],
    );
    check(&["m 1\n# TYPE n gauge\no{} 2\n"], &["gauge/unknown [] \"\" m 1", "gauge/unknown [] \"\" o 2"]);
    // What is no sample costs the others nothing.
    check(
        &["# TYPE m gauge\nm\nm{a=\"b 1\nm{a=b} 1\nm x\n{} 1\n\nm{a=\"b\"} 3\n# EOF\n"],
        &["gauge/gauge [] \"\" m{a=\"b\"} 3"],
    );
    // No histogram, but nothing is lost.
    check(
        &["# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\n"],
        &["gauge/unknown [] \"\" h_bucket{le=\"+Inf\"} 1", "gauge/unknown [] \"\" h_sum 2"],
    );
}

#[test]
fn units_are_those_of_names() {
    let check = |name: &str, want: &str| {
        let page = format!("# TYPE {name} gauge\n{name} 1\n").into_bytes();
        let request = Requests::new(about(), Vec::new(), Box::new(std::iter::once(page))).next().unwrap();
        assert_eq!(metrics(&decoded(&request.body))[0].unit, want, "{name}");
    };
    check("highwater_lag_seconds", "s");
    check("highwater_lag_group_seconds", "s");
    check("highwater_lag_seconds_low", "");
    check("highwater_lag_consumed_records_per_second", "");
    check("highwater_lag_records", "");
    check("a_bytes", "By");
    check("a_milliseconds", "ms");
    check("a_ratio", "1");
    check("seconds", "s");
}

#[test]
fn requests_are_bounded() {
    let check = |points_max, bytes_max, points: u64, want: &[u64]| {
        let mut builder = Builder::bounded(about(), points_max, bytes_max);
        let mut requests = Vec::new();
        for name in ["a", "b"] {
            builder.begin(Family { name: name.to_owned(), help: "Words.".to_owned(), kind: Kind::Gauge });
            for at in 0..points {
                builder.sample(|to| {
                    to.add("at", &at.to_string());
                    Some(at as f64)
                });
                requests.extend(std::iter::from_fn(|| builder.request()));
            }
        }
        builder.end();
        requests.extend(std::iter::from_fn(|| builder.request()));
        assert_eq!(requests.iter().map(|request| request.points).collect::<Vec<_>>(), want);
        let bodies: Vec<_> = requests.into_iter().map(|request| request.body).collect();
        assert_eq!(rows(&bodies).len() as u64, points * 2);
        for metric in bodies.iter().flat_map(|body| metrics(&decoded(body)).to_vec()) {
            assert_eq!((metric.description.as_str(), metric.metadata.len()), ("Words.", 1));
        }
    };
    check(100, BYTES_MAX, 0, &[]);
    check(100, BYTES_MAX, 3, &[6]);
    check(3, BYTES_MAX, 3, &[3, 3]);
    check(4, BYTES_MAX, 3, &[4, 2]);
    check(1, BYTES_MAX, 2, &[1, 1, 1, 1]);
    check(100, 1, 1, &[1, 1]);
    check(100, 100, 4, &[4, 4]);
}

/// What a receiver does when it is asked.
enum Act {
    Say(u16, &'static [(&'static str, &'static str)], Vec<u8>),
    /// Nobody is there.
    Refuse,
    /// What it says is not HTTP.
    Babble,
    /// It takes the question, and hangs up.
    HangUp,
    Sleep,
}

struct Heard {
    at: Instant,
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// Acts in turn, and then says yes to everything.
struct Receiver {
    acts: Mutex<VecDeque<Act>>,
    dials: AtomicUsize,
    heard: mpsc::UnboundedSender<Heard>,
}

impl Receiver {
    fn new(acts: impl IntoIterator<Item = Act>) -> (Arc<Self>, mpsc::UnboundedReceiver<Heard>) {
        let (heard, hears) = mpsc::unbounded_channel();
        let acts = Mutex::new(acts.into_iter().collect());
        (Arc::new(Self { acts, dials: AtomicUsize::new(0), heard }), hears)
    }

    fn take_if(&self, wanted: impl Fn(&Act) -> bool) -> Option<Act> {
        let mut acts = self.acts.lock().unwrap();
        if acts.front().is_some_and(wanted) { acts.pop_front() } else { None }
    }

    fn dial(self: &Arc<Self>) -> Dial {
        let receiver = Arc::clone(self);
        Arc::new(move |address: Address| {
            let receiver = Arc::clone(&receiver);
            async move {
                receiver.dials.fetch_add(1, Ordering::Relaxed);
                let (ours, mut theirs) = tokio::io::duplex(1 << 16);
                match receiver.take_if(|act| matches!(act, Act::Refuse | Act::Babble)) {
                    Some(Act::Refuse) => return Err(vec![Attempt::new(address, "Connection refused")]),
                    Some(_) => theirs.write_all(b"220 mail.example ESMTP\r\n").await.unwrap(),
                    None => drop(tokio::spawn(async move {
                        let service = service_fn(|request| receiver.answer(request));
                        // A client that hangs up is none of its business.
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(theirs), service).await;
                    })),
                }
                Ok(Box::new(ours) as Box<dyn Io>)
            }
            .boxed()
        })
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut unpacked = Vec::new();
        match head.headers.get("content-encoding") {
            Some(_) => drop(GzDecoder::new(&*body).read_to_end(&mut unpacked).unwrap()),
            None => unpacked.extend_from_slice(&body),
        }
        let heard = Heard { at: Instant::now(), path: head.uri.to_string(), headers: head.headers, body: unpacked };
        let _ = self.heard.send(heard);
        match self.take_if(|_| true) {
            None => Ok(Response::new(Full::default())),
            Some(Act::Say(status, headers, body)) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(*name, *value);
                }
                Ok(response.body(Full::from(body)).unwrap())
            }
            Some(Act::Sleep) => std::future::pending::<Result<_, Infallible>>().await.map_err(|never| match never {}),
            Some(_) => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn telemetry(samples: usize) -> Telemetry {
    let telemetry = Telemetry::new().unwrap();
    let meter = telemetry.meter("room");
    meter.u64_counter("highwater_room_records").with_description("Records.").build().add(3, &[]);
    let time = meter.f64_histogram("highwater_room_duration").with_unit("s").with_boundaries(vec![0.1, 1.0]).build();
    for seconds in [0.05, 0.5, 0.7, 30.0] {
        time.record(seconds, &[opentelemetry::KeyValue::new("way", "in \"and\" out")]);
    }
    telemetry.add_text(Arc::new(move |_| -> Pages {
        let head = b"# HELP lag_records Behind.\n# TYPE lag_records gauge\n".to_vec();
        let pages = (0..samples).map(|at| format!("lag_records{{group=\"g{at}\"}} {at}.5\n").into_bytes());
        Box::new(std::iter::once(head).chain(pages))
    }));
    telemetry
}

fn config() -> Config {
    let mut config = Config::default();
    config.headers.0.insert("Authorization".to_owned(), "Bearer hunter2".to_owned());
    config
}

fn exporter(receiver: &Arc<Receiver>, config: &Config, telemetry: &Telemetry) -> Exporter {
    let endpoint = Endpoint::of_base("http://collector:4318").unwrap();
    Exporter::over(config, endpoint, telemetry, receiver.dial()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_pushed_is_what_a_scrape_says() {
    for compression in [Compression::Gzip, Compression::None] {
        let (receiver, mut hears) = Receiver::new([]);
        let telemetry = telemetry(100);
        let exporter = exporter(&receiver, &Config { compression, ..config() }, &telemetry);
        let (want, began) = (rows_of(&scraped(&telemetry)), Instant::now());
        let stop = CancellationToken::new();
        let running = tokio::spawn(exporter.run("host:9308", stop.clone()).boxed());
        let heard = hears.recv().await.unwrap();
        assert_eq!(rows(std::slice::from_ref(&heard.body)), want);
        assert!(
            want.len() > 110 && want.contains_key("highwater_otlp_push_failures_total{reason=\"late\"}"),
            "{want:?}"
        );
        assert_eq!((heard.at - began, heard.path.as_str()), (Duration::from_secs(60), "/v1/metrics"));
        let header = |name: &str| heard.headers.get(name).map(|value| value.to_str().unwrap());
        assert_eq!(header("content-type"), Some("application/x-protobuf"));
        assert_eq!(header("content-encoding"), (compression == Compression::Gzip).then_some("gzip"));
        assert_eq!((header("host"), header("authorization")), (Some("collector:4318"), Some("Bearer hunter2")));
        let request = decoded(&heard.body);
        let resource = request.resource_metrics[0].resource.as_ref().unwrap();
        let said: Vec<_> = resource.attributes.iter().map(|it| (it.key.as_str(), text_of(it))).collect();
        assert_eq!(said[0..2], [("service.instance.id", "host:9308"), ("service.name", "highwater")]);
        stop.cancel();
        running.await.unwrap();
        // One last time, with what the first push has changed.
        let last = rows(&[hears.recv().await.unwrap().body]);
        assert_eq!(last["highwater_otlp_points_total"], heard_points(&heard.body) as f64);
    }
}

fn heard_points(body: &[u8]) -> usize {
    let points = |metric: &Metric| match metric.data.as_ref().unwrap() {
        metric::Data::Histogram(it) => it.data_points.len(),
        _ => samples(metric).len(),
    };
    metrics(&decoded(body)).iter().map(points).sum()
}

#[tokio::test(start_paused = true)]
async fn many_series_are_many_requests_over_one_connection() {
    let (receiver, mut hears) = Receiver::new([]);
    let telemetry = telemetry(20_000);
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter(&receiver, &config(), &telemetry).run("i", stop.clone()).boxed());
    let mut bodies = Vec::new();
    while rows(&bodies).len() < 20_000 {
        bodies.push(hears.recv().await.unwrap().body);
    }
    assert_eq!((bodies.len(), receiver.dials.load(Ordering::Relaxed)), (3, 1));
    assert!(bodies.iter().all(|body| heard_points(body) as u64 <= POINTS_MAX && body.len() < BYTES_MAX + 1_024));
    stop.cancel();
    running.await.unwrap();
}

/// What the exporter says of itself, without zeros.
fn account(telemetry: &Telemetry) -> String {
    let rows = rows_of(&scraped(telemetry));
    let of = rows.iter().filter(|(name, count)| name.starts_with("highwater_otlp_") && **count > 0.0);
    let short = |name: &str| name.trim_start_matches("highwater_otlp_").replace("_total", "").replace('"', "");
    let of = of.filter(|(name, _)| !name.contains("_points_total") || name.contains("rejected"));
    of.map(|(name, count)| format!("{}={count}", short(name))).collect::<Vec<_>>().join(" ")
}

/// Lets a receiver act until it has heard so often, and then stops. Gives what passed between what it heard.
async fn storm(acts: Vec<Act>, hears_until_stop: usize) -> (Vec<Duration>, String) {
    let (receiver, mut hears) = Receiver::new(acts);
    let telemetry = telemetry(1);
    let stop = CancellationToken::new();
    let running = tokio::spawn(exporter(&receiver, &config(), &telemetry).run("i", stop.clone()).boxed());
    let (mut at, mut pauses) = (Instant::now(), Vec::new());
    for _ in 0..hears_until_stop {
        let heard = hears.recv().await.unwrap();
        pauses.push(heard.at - at);
        at = heard.at;
    }
    // What was said last is taken in first.
    tokio::time::sleep(Duration::from_millis(1)).await;
    stop.cancel();
    running.await.unwrap();
    (pauses, account(&telemetry))
}

#[tokio::test(start_paused = true)]
async fn a_receiver_in_trouble() {
    use Act::{Babble, HangUp, Refuse, Say, Sleep};
    // At least so many seconds passed, and at most one more: pauses are drawn.
    let check = async |acts: Vec<Act>, hears: usize, pauses: &[f64], want: &str| {
        let (passed, account) = storm(acts, hears).await;
        let is_near = |(passed, least): (&Duration, &f64)| (*least..=least + 1.0).contains(&passed.as_secs_f64());
        let are_near = passed.len() == pauses.len() && passed.iter().zip(pauses).all(is_near);
        assert!(are_near && account == want, "{passed:?} {account}, not {pauses:?} {want}");
    };
    let busy = |headers| Say(503, headers, Vec::new());
    let mut partial = Vec::new();
    protobuf::message(&mut partial, 1, |out| {
        protobuf::number(out, 1, 2);
        protobuf::bytes(out, 2, b"too old");
    });
    // The second of two pushes is the one at the end.
    check(vec![], 1, &[60.0], "pushes=2").await;
    check(vec![busy(&[("retry-after", "7")])], 2, &[60.0, 7.0], "pushes=2").await;
    check(vec![busy(&[]), busy(&[("retry-after", "3")])], 3, &[60.0, 0.5, 3.0], "pushes=2").await;
    // Who says "at once" is waited for as one who says nothing.
    let at_once = || busy(&[("retry-after", "0")]);
    check(vec![at_once(), at_once()], 3, &[60.0, 0.5, 1.0], "pushes=2").await;
    // For longer than until the next push: that one is left out as well.
    check(vec![busy(&[("retry-after", "100")])], 2, &[60.0, 120.0], "push_failures{reason=busy}=1 pushes=2").await;
    // And the last one, too.
    check(vec![busy(&[("retry-after", "100")])], 1, &[60.0], "push_failures{reason=busy}=1").await;
    check(vec![Say(200, &[], partial)], 1, &[60.0], "pushes=2 rejected_points=2").await;
    check(vec![Say(400, &[], b"what?".to_vec())], 2, &[60.0, 60.0], "push_failures{reason=refused}=1 pushes=2").await;
    check(vec![Say(500, &[], Vec::new())], 2, &[60.0, 60.0], "push_failures{reason=refused}=1 pushes=2").await;
    let page = || Say(200, &[("content-type", "text/html")], b"<html>".to_vec());
    check(vec![page()], 2, &[60.0, 60.0], "push_failures{reason=answer}=1 pushes=2").await;
    check(vec![Say(200, &[], vec![0; 1 << 20])], 2, &[60.0, 60.0], "push_failures{reason=answer}=1 pushes=2").await;
    check(vec![Say(503, &[("retry-after", "5")], vec![0; 1 << 20])], 2, &[60.0, 5.0], "pushes=2").await;
    check(vec![Refuse], 1, &[60.5], "pushes=2").await;
    check(vec![Babble], 1, &[60.5], "pushes=2").await;
    check(vec![HangUp], 2, &[60.0, 0.5], "pushes=2").await;
    check(vec![Sleep], 2, &[60.0, 10.5], "pushes=2").await;
    // Told to stop while it waits for an answer.
    check(vec![Sleep], 1, &[60.0], "pushes=1").await;
    let away = || (0..100).map(|_| Refuse).collect::<Vec<_>>();
    let (pauses, account) = storm(away(), 1).await;
    assert!(
        pauses[0] > Duration::from_secs(600) && account.starts_with("push_failures{reason=unreached}="),
        "{pauses:?} {account}"
    );
    // One that says "at once" for ever has not asked to be left alone: no interval goes by without a push.
    let (pauses, _) = storm((0..100).map(|_| at_once()).collect(), 20).await;
    assert!(pauses[1..].iter().all(|pause| *pause < Duration::from_secs(31)), "{pauses:?}");
    // A receiver that never answers costs a push each interval, and what is left of it is not carried on.
    let asleep = || (0..10).map(|_| Sleep).collect::<Vec<_>>();
    let (pauses, account) = storm(asleep(), 11).await;
    assert!(
        pauses.iter().sum::<Duration>() > Duration::from_secs(120) && account.ends_with("pushes=2"),
        "{pauses:?} {account}"
    );
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_said_once_at_each_end() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    // Where there is one subscriber, whether a line is wanted is asked of the thread that comes to it first, once and for all: a
    // test beside this one, which wants none, would switch it off. With two, both are asked.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let acts = (0..3).map(|_| Act::Say(500, &[], b"disk full".to_vec())).collect();
    let (_, account) = storm(acts, 4).await;
    assert_eq!(account, "push_failures{reason=refused}=3 pushes=2");
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    let [begins, ends] = &*lines else { panic!("{said}") };
    assert!(
        begins.contains("metrics are not taken") && begins.contains("500 Internal Server Error: disk full"),
        "{said}"
    );
    assert!(ends.contains("metrics are taken again") && ends.contains("after_seconds=180"), "{said}");
    assert!(said.contains("endpoint=http://collector:4318/v1/metrics") && !said.contains("hunter2"), "{said}");
    assert!(!format!("{:?}", config()).contains("hunter2"));
}
