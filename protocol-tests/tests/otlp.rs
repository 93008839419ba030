//! Programs that push their metrics: what a receiver of OTLP gets of the lag monitor is what `/metrics` says, also at the end; and
//! what it gets of the whole house behind TLS, and what the house makes of a receiver that it does not trust.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use flate2::read::GzDecoder;
use highwater::client::{Error, NewTopic, ProducerConfig, ProducerRecord, Topic, TopicPartition};
use highwater::devbroker::{self, DevBroker};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric, number_data_point};
use prost::Message as _;
use protocol_tests::program::{Program, binary};
use protocol_tests::{connect, http, make_topics, wait_until};
use tokio::io::copy_bidirectional;
use tokio::net;
use tokio_rustls::TlsAcceptor;

const WITHIN: Duration = Duration::from_secs(40);

type Samples = BTreeMap<String, f64>;

/// A group that is five records behind, and one that is not.
async fn lags(bootstrap: &str) -> Result<(), Error> {
    let (client, topic) = (connect(bootstrap).await?, Topic::from("orders"));
    make_topics(&client, &[NewTopic::new("orders").partitions(2)]).await?;
    let producer = client.producer(ProducerConfig::default())?;
    for _ in 0..5 {
        producer.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&topic, b"x") }).await?;
    }
    producer.close(WITHIN).await?;
    for (group, offset) in [("behind \"it\"", 0), ("there", 5)] {
        for (_, altered) in
            client.admin().alter_offsets(group, &[(TopicPartition::new("orders", 0), offset.into())]).await?
        {
            altered?;
        }
    }
    client.close().await;
    Ok(())
}

/// A receiver that takes everything, and hands on what it got.
fn receiver() -> (SocketAddr, Receiver<Samples>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (hears, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let hears = hears.clone();
            thread::spawn(move || listen(stream, &hears));
        }
    });
    (address, heard)
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/tls/testdata").join(name)
}

/// The same behind TLS, by a certificate for `localhost` that ca.pem has signed; says at which port. It lives as long as its
/// runtime.
async fn behind_tls(receiver: SocketAddr) -> std::io::Result<u16> {
    let (cert_file, key_file) = (testdata("server.pem"), testdata("server.key.pem"));
    let tls = devbroker::TlsOptions { cert_file, key_file, client_ca_file: None };
    let tls = TlsAcceptor::from(tls.config().expect("a certificate and its key"));
    let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                // Who does not trust it hangs up.
                let (mut outside, mut inside) = (tls.accept(stream).await?, net::TcpStream::connect(receiver).await?);
                copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    Ok(port)
}

fn listen(stream: TcpStream, hears: &Sender<Samples>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        assert!(line.starts_with("POST /v1/metrics HTTP/1.1"), "{line}");
        while line.trim() != "" {
            line.clear();
            stream.read_line(&mut line).ok()?;
            length = line.strip_prefix("content-length: ").map_or(length, |it| it.trim().parse().expect("a length"));
        }
        let (mut packed, mut body) = (vec![0; length], Vec::new());
        stream.read_exact(&mut packed).ok()?;
        GzDecoder::new(&*packed).read_to_end(&mut body).expect("gzip");
        // First, since who has an answer may end, and with it the test that looks for what was heard last.
        hears.send(samples(&ExportMetricsServiceRequest::decode(&*body).expect("a request"))).ok()?;
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

fn samples(request: &ExportMetricsServiceRequest) -> Samples {
    let scopes = request.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
    scopes.flat_map(|it| &it.metrics).flat_map(samples_of).collect()
}

fn samples_of(metric: &Metric) -> Vec<(String, f64)> {
    let name = |ending: &str, attributes: &[KeyValue]| {
        let text = |it: &KeyValue| match it.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text.replace('"', "\\\""),
            other => panic!("{other:?}"),
        };
        let labels: Vec<_> = attributes.iter().map(|it| format!("{}=\"{}\"", it.key, text(it))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}{ending}{labels}", metric.name)
    };
    let number = |point: &NumberDataPoint| match point.value {
        Some(number_data_point::Value::AsDouble(value)) => (name("", &point.attributes), value),
        other => panic!("{other:?}"),
    };
    match metric.data.as_ref().expect("points") {
        metric::Data::Gauge(gauge) => gauge.data_points.iter().map(number).collect(),
        metric::Data::Sum(sum) => sum.data_points.iter().map(number).collect(),
        metric::Data::Histogram(it) => {
            it.data_points.iter().map(|point| (name("_count", &point.attributes), point.count as f64)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// What is scraped, of histograms the counts, and without labels that have no value.
fn scraped(address: &str) -> Samples {
    let (_, text) = http::get(address, "/metrics").expect("an answer");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines = lines
        .filter(|line| !line.contains("_bucket{") && !line.starts_with("highwater_lag_round_duration_seconds_sum"));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        let name = name.replace("state=\"\",", "").replace("type=\"\",", "");
        (name, value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

fn names(samples: &Samples) -> Vec<&str> {
    samples.keys().map(String::as_str).collect()
}

#[test]
fn what_is_pushed_is_what_is_scraped() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let broker = runtime.block_on(DevBroker::start(devbroker::Config::default())).expect("a broker");
    let embedded = broker.bootstrap_servers();
    runtime.block_on(lags(&embedded)).expect("groups");
    let (receiver, heard) = receiver();
    let url = format!("http://{receiver}");
    let directory = tempfile::tempdir().expect("a directory");
    let how = ["lag", "-b", &embedded, "--listen", "127.0.0.1:0", "--interval", "200ms", "--series", "detail"];
    let push = ["--otlp-endpoint", &url, "--otlp-interval", "1s", "--otlp-header", "authorization=Bearer hunter2"];
    let mut program = Program::start(directory.path(), &[&how[..], &push].concat());
    let address = program.address(WITHIN);
    let (scrape, pushed) = wait_until("a push has the series of a scrape", WITHIN, || {
        let pushed = heard.recv_timeout(WITHIN).expect("a push");
        let scrape = scraped(&address);
        let behind = pushed.keys().any(|name| name.starts_with("highwater_lag_seconds_low{consumergroup=\"behind"));
        (behind && names(&scrape) == names(&pushed)).then_some((scrape, pushed))
    });
    let steady =
        |name: &str| ["_records{", "_offset{", "_partitions{", "_info{"].iter().any(|part| name.contains(part));
    let steady: Vec<_> = scrape.iter().filter(|(name, _)| steady(name)).collect();
    assert!(steady.len() > 20, "{scrape:?}");
    for (name, value) in steady {
        assert_eq!(pushed.get(name), Some(value), "{name}");
    }
    assert_eq!(pushed["highwater_lag_group_records{consumergroup=\"behind \\\"it\\\"\"}"], 5.0);
    assert!(program.terminate(WITHIN).success(), "{}", program.log());
    let last = heard.try_iter().last().expect("a push at the end");
    assert!(last["highwater_otlp_pushes_total"] > pushed["highwater_otlp_pushes_total"], "{last:?}");
    assert!(program.log().contains(&format!("endpoint={url}/v1/metrics")), "{}", program.log());
    assert!(!program.log().contains("hunter2"), "{}", program.log());
    runtime.block_on(broker.stop()).expect("the broker ends");
}

/// Runs the whole house for some seconds, which pushes to this port every so often, as somebody who trusts that CA; says how it
/// ended, and what it has logged.
fn up(port: u16, ca: &str, every: &str, duration: &str) -> (ExitStatus, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let (data, ca, url) = (directory.path().join("data"), testdata(ca), format!("https://localhost:{port}"));
    let nowhere = "127.0.0.1:0";
    let arguments = [
        ["--data-dir", &data.to_string_lossy()],
        ["--duration", duration],
        ["--rate", "200"],
        ["--listen", nowhere],
        ["--gateway-listen", nowhere],
        ["--metrics-listen", nowhere],
        ["--otlp-endpoint", &url],
        ["--otlp-ca", &ca.to_string_lossy()],
        ["--otlp-interval", every],
    ];
    let mut program = Program::start(directory.path(), &[&["up"], arguments.as_flattened()].concat());
    (program.wait(WITHIN), program.log())
}

#[test]
fn the_whole_house_pushes_over_tls_and_goes_on_where_it_does_not_trust() {
    binary();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (receiver, heard) = receiver();
    let port = runtime.block_on(behind_tls(receiver)).expect("a port");
    let (status, log) = up(port, "ca.pem", "1s", "4s");
    assert!(status.success(), "{log}");
    let last = heard.try_iter().last().expect("a push at the end");
    let positive =
        ["highwater_pipeline_records_total{", "highwater_sink_documents_total{", "highwater_lag_end_offset{"];
    for name in positive {
        let sum: f64 = last.iter().filter(|(series, _)| series.starts_with(name)).map(|(_, value)| value).sum();
        assert!(sum > 0.0, "{name} in {last:?}");
    }

    // So seldom that the first push is cut short by the end and not by the next one, which would be the reason then.
    let (status, log) = up(port, "other-ca.pem", "10s", "11s");
    assert!(status.success(), "{log}");
    let said: Vec<_> = log.lines().filter(|line| line.contains("metrics are not taken")).collect();
    let [said] = &*said else { panic!("{log}") };
    assert!(said.contains("no CA that is trusted"), "{said}");
    assert_eq!(heard.try_iter().count(), 0, "somebody who is not trusted was told");
}

#[test]
fn what_cannot_be_pushed_to_is_said_at_once_by_whoever_pushes() {
    let check = |arguments: &[&str], variables: &[(&str, &str)], status: i32, want: &str| {
        let mut command = Command::new(binary());
        command.args(["lag", "-b", "127.0.0.1:1"]).args(arguments).envs(variables.iter().copied());
        let output = command.output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?} {variables:?}: {said}");
        assert!(said.contains(want) && !said.contains("hunter2"), "{said}");
    };
    check(&["--otlp-endpoint", "collector:4318"], &[], 78, "otlp.endpoint = …: must be the URL of an OTLP receiver");
    check(&["--otlp-endpoint", "grpc://collector"], &[], 78, "gRPC is not spoken");
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317");
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    check(&[], &[base], 78, "4317 is the port of OTLP over gRPC");
    check(&[], &[base, grpc], 78, "only http/protobuf is spoken");
    check(&["--otlp-header", "a b=hunter2"], &[], 78, "otlp.headers = \"a b\"");
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2");
    check(&[], &[headers], 78, "OTEL_EXPORTER_OTLP_HEADERS: it is not NAME=VALUE,NAME=VALUE");
    // What is only looked at is pushed nowhere, and what was typed is pushed elsewhere: all that is wrong is the cluster.
    for arguments in [&["--once"][..], &["--watch"], &["--otlp-endpoint", "http://127.0.0.1:4318"]] {
        check(arguments, &[base, grpc], 69, "no broker of 127.0.0.1:1 can be reached");
    }
}
