//! Peers that mean no good, over TCP: to the dev broker, and to the client. What they send, or do not send, ends their own
//! connection, in time and for little memory; nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use highwater::client::{Client, ClientConfig, NewTopic, ProducerConfig, ProducerRecord, Topic};
use highwater::devbroker::{Config, DevBroker};
use highwater::protocol::api::{APIS, encode_response_frame};
use highwater::protocol::messages::{ApiVersion, ApiVersionsResponse};
use peak_alloc::PeakAlloc;
use protocol_tests::{Outcome, make_topics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What is allocated is allocated by all of the process: one test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Far more than a loaded machine needs for what these tests wait for.
const LONG: Duration = Duration::from_secs(60);

/// Says something and waits until the other side hangs up.
async fn hung_up_on(address: SocketAddr, words: &[u8]) -> Outcome<()> {
    let mut stream = TcpStream::connect(address).await?;
    // The other side may have hung up before it has heard all.
    let _ = stream.write_all(words).await;
    let mut heard = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut heard)).await?;
    Ok(())
}

fn framed(length: i32, body: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], body].concat()
}

#[tokio::test]
async fn a_broker_hangs_up_on_who_makes_no_sense_and_serves_the_others() -> Outcome<()> {
    let _alone = ALONE.lock().await;
    let config = Config { idle_timeout: Duration::from_millis(500), ..Config::default() };
    let broker = DevBroker::start(config).await?;
    let address = broker.address(1).ok_or("no address")?;
    let client = Client::connect(ClientConfig {
        bootstrap_servers: vec![broker.bootstrap_servers()],
        connections_max_idle: Duration::from_millis(200),
        ..Default::default()
    })
    .await?;
    let topic = Topic::from("t");
    make_topics(&client, &[NewTopic::new("t").partitions(1)]).await?;
    let producer = client.producer(ProducerConfig::default())?;
    producer.send(ProducerRecord::new(&topic, b"before")).await?;

    let unknown_api = framed(10, &[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]);
    let hostile_topics = framed(14, &[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let words: [Vec<u8>; 10] = [
        Vec::new(),
        vec![0, 0],
        b"GET / HTTP/1.1\r\nhost: kafka\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        framed(i32::MAX, &[0; 100]),
        framed(-1, &[0; 100]),
        framed(0, &[]),
        framed(100 << 20, b"half of a frame, and then nothing"),
        unknown_api,
        hostile_topics,
    ];
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let many = words.iter().cycle().take(100).map(|words| hung_up_on(address, words));
    let all = futures::future::join_all(many);
    let meanwhile = async {
        for _ in 0..20 {
            producer.send(ProducerRecord::new(&topic, b"meanwhile")).await?;
        }
        Outcome::Ok(())
    };
    let (closed, sent) = tokio::join!(all, meanwhile);
    sent?;
    closed.into_iter().collect::<Outcome<Vec<()>>>()?;
    let held = MEMORY.peak_usage().saturating_sub(before);
    // A hundred connections, each with room for one read of what it sent.
    assert!(held < 100 * (64 << 10), "{held} bytes for a hundred peers that sent some hundred bytes each");
    producer.send(ProducerRecord::new(&topic, b"after")).await?;
    producer.close(LONG).await?;
    client.close().await;
    Ok(broker.stop().await?)
}

/// Answers everybody's first request with these bytes, and then says nothing more, or hangs up.
async fn liar(answer: Vec<u8>, hangs_up: bool) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 512];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&answer).await;
            if !hangs_up {
                kept.push(stream);
            }
        }
    });
    Ok(address)
}

/// Everything is on offer, and what comes behind it is up to the liar.
fn versions_and(more: &[u8]) -> Outcome<Vec<u8>> {
    let offer = |row: &highwater::protocol::api::ApiRow| ApiVersion {
        api_key: row.key,
        min_version: *row.versions.start(),
        max_version: *row.versions.end(),
    };
    let answer = ApiVersionsResponse { api_keys: APIS.iter().map(offer).collect(), ..Default::default() };
    let mut out = BytesMut::new();
    encode_response_frame(0, 5, &answer.into(), &mut out)?;
    out.extend_from_slice(more);
    Ok(out.to_vec())
}

#[tokio::test]
async fn a_client_is_told_what_is_wrong_with_a_broker_that_lies() -> Outcome<()> {
    let _alone = ALONE.lock().await;
    let endless_array = [&[0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let endless_tags = [&[0, 0, 0, 1][..], &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let metadata_of_endless_brokers = [&[0, 0, 0, 1, 0, 0, 0, 0, 0][..], &[0xff, 0xff, 0xff, 0x7f, 0, 0]].concat();
    let cases: [(&str, Vec<u8>); 10] = [
        ("nothing", Vec::new()),
        ("two bytes", vec![0, 0]),
        ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("the largest length", framed(i32::MAX, &[0; 100])),
        ("a negative length", framed(-1, &[0; 100])),
        ("half of a frame", framed(100 << 20, b"half")),
        ("an answer to nobody", framed(4, &[0x7f, 0, 0, 0])),
        ("an array without end", framed(endless_array.len() as i32, &endless_array)),
        ("tags without end", versions_and(&framed(endless_tags.len() as i32, &endless_tags))?),
        (
            "brokers without end",
            versions_and(&framed(metadata_of_endless_brokers.len() as i32, &metadata_of_endless_brokers))?,
        ),
    ];
    for (what, answer) in cases {
        for hangs_up in [false, true] {
            let address = liar(answer.clone(), hangs_up).await?;
            let config = ClientConfig {
                bootstrap_servers: vec![address.to_string()],
                connect_timeout: Duration::from_millis(400),
                request_timeout: Duration::from_millis(400),
                ..Default::default()
            };
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            let outcome = timeout(LONG, Client::connect(config)).await?;
            let held = MEMORY.peak_usage().saturating_sub(before);
            let error = outcome.err().ok_or_else(|| format!("{what} is no cluster"))?;
            assert!(error.to_string().contains(&address.to_string()), "{what}: {error}");
            // Buffers of some connections; none of them is made for what was only announced.
            assert!(held < 4 << 20, "{what}: {held} bytes held: {error}");
        }
    }
    Ok(())
}
