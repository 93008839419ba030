//! TLS and SASL, the same scenarios on the dev broker and on Kafka 3.9 and 4.3: every mechanism, what is said when one side
//! does not believe the other, sessions that end, certificates and passwords that change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use highwater::client::{
    Client, ClientConfig, Consumer, ConsumerConfig, Error, ErrorKind, IsolationLevel, Login, NewTopic, OffsetReset,
    OffsetSpec, Oidc, OidcConfig, Password, Producer, ProducerConfig, ProducerRecord, RefusalReason, Sasl, Tls,
    TlsFault, TlsOptions, Token, TokenFile, Topic, TopicPartition,
};
use highwater::devbroker::{self, DevBroker, Mechanism, SaslConfig, User};
use highwater::protocol::api::Body;
use highwater::protocol::messages::SaslHandshakeRequest;
use protocol_tests::servers::{self, KAFKA_39, KAFKA_43, Kafka, Listener, Missing, Version};
use protocol_tests::{Outcome, finish, make_missing_topics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const PATIENCE: Duration = Duration::from_secs(120);
/// Sessions of PLAIN and SCRAM last so long on the listener without TLS of Kafka.
const SESSION: Duration = Duration::from_secs(2);

/// The four kinds of listeners, and the files to reach them with. `tls` asks for a certificate; `sasl` ends sessions and
/// takes OAUTHBEARER, and `sasl_tls` does neither.
struct Site {
    plain: String,
    sasl: String,
    tls: String,
    sasl_tls: String,
    files: PathBuf,
    ca: &'static str,
    certificate: [&'static str; 2],
}

impl Site {
    fn file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    fn trusting(&self) -> TlsOptions {
        TlsOptions { ca_file: Some(self.file(self.ca)), ..TlsOptions::default() }
    }

    fn with_certificate(&self) -> TlsOptions {
        let [cert, key] = self.certificate.map(|name| Some(self.file(name)));
        TlsOptions { cert_file: cert, key_file: key, ..self.trusting() }
    }
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../src/tls/testdata").join(name)
}

async fn connect(servers: &str, tls: Option<TlsOptions>, sasl: Option<Sasl>) -> Result<Client, Error> {
    let tls = tls.map(Tls::new).transpose().map_err(|error| Error::config(error.to_string()))?;
    Client::connect(ClientConfig { bootstrap_servers: vec![servers.to_owned()], tls, sasl, ..Default::default() }).await
}

async fn refused(servers: &str, tls: Option<TlsOptions>, sasl: Option<Sasl>) -> Outcome<Error> {
    match timeout(PATIENCE, connect(servers, tls, sasl)).await? {
        Ok(_) => Err("let in".into()),
        Err(error) => Ok(error),
    }
}

fn alice() -> Login {
    Login::new("alice", "alice-secret")
}

/// What Kafka takes for a token while nothing is set up but OAUTHBEARER itself.
fn unsecured(subject: &str, lasts: Duration) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let claims = serde_json::json!({"sub": subject, "iat": now.as_secs_f64(), "exp": (now + lasts).as_secs_f64()});
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn bearer(token: impl Into<highwater::client::Secret>) -> Sasl {
    Sasl::OAuthBearer(Arc::new(Token::new(token)))
}

async fn topic(client: &Client, name: &str) -> Outcome<Topic> {
    make_missing_topics(client, &[NewTopic::new(name).partitions(1).replication_factor(1)]).await?;
    Ok(Topic::from(name))
}

/// Writes, and asks where the partition ends: connections of three lanes.
async fn use_it(client: &Client, name: &str) -> Outcome<()> {
    let topic = topic(client, name).await?;
    let producer = client.producer(ProducerConfig::default())?;
    let written = producer.send(ProducerRecord { partition: Some(0), ..ProducerRecord::new(&topic, b"v") }).await?;
    let (admin, partitions) = (client.admin(), [TopicPartition::new(topic, 0)]);
    let mut ends = admin.list_offsets(OffsetSpec::Latest, &partitions, IsolationLevel::ReadUncommitted).await?;
    let end = ends.remove(&partitions[0]).ok_or("no answer")??;
    assert!(end.offset > written.offset, "{end:?} after {written:?}");
    producer.close(PATIENCE).await?;
    client.close().await;
    Ok(())
}

async fn every_mechanism_lets_us_in(site: &Site) -> Outcome<()> {
    let passwords = [Sasl::Plain(alice()), Sasl::ScramSha256(alice()), Sasl::ScramSha512(alice())];
    for sasl in &passwords {
        use_it(&connect(&site.sasl, None, Some(sasl.clone())).await?, "security-sasl").await?;
        use_it(&connect(&site.sasl_tls, Some(site.trusting()), Some(sasl.clone())).await?, "security-sasl-tls").await?;
    }
    let token = bearer(unsecured("alice", Duration::from_secs(600)));
    use_it(&connect(&site.sasl, None, Some(token)).await?, "security-oauth").await?;
    use_it(&connect(&site.tls, Some(site.with_certificate()), None).await?, "security-tls").await?;
    use_it(&connect(&site.plain, None, None).await?, "security-plain").await
}

async fn a_refusal_says_who_and_how_and_why(site: &Site) -> Outcome<()> {
    let guess = || Login::new("alice", "guess");
    let nobody = || Login::new("nobody", "alice-secret");
    let invalid = "due to invalid credentials with SASL mechanism";
    let cases = [
        (Sasl::Plain(guess()), "PLAIN authentication of alice", "Invalid username or password"),
        (Sasl::Plain(nobody()), "PLAIN authentication of nobody", "Invalid username or password"),
        (Sasl::ScramSha256(guess()), "SCRAM-SHA-256 authentication of alice", invalid),
        (Sasl::ScramSha512(guess()), "SCRAM-SHA-512 authentication of alice", invalid),
        (Sasl::ScramSha512(nobody()), "SCRAM-SHA-512 authentication of nobody", invalid),
        (bearer(unsecured("alice", Duration::ZERO)), "OAUTHBEARER authentication of alice", "invalid_token"),
    ];
    for (sasl, who, why) in cases {
        let error = refused(&site.sasl, None, Some(sasl)).await?;
        let said = error.to_string();
        assert!(said.contains(who) && said.contains(why), "{said}");
        assert!(said.contains("SASL_AUTHENTICATION_FAILED") && !said.contains("guess"), "{said}");
        assert_eq!((error.is_authentication(), error.is_retriable()), (true, false), "{said}");
    }
    Ok(())
}

async fn a_wrong_listener_is_recognised(site: &Site) -> Outcome<()> {
    let reason = |error: &Error| match &error.kind {
        ErrorKind::Authentication(refusal) => Some(refusal.reason.clone()),
        _ => None,
    };
    let error = refused(&site.sasl_tls, Some(site.trusting()), Some(bearer("a.b."))).await?;
    let Some(RefusalReason::NotOffered { mut offered }) = reason(&error) else { return Err(error.into()) };
    offered.sort();
    assert_eq!(offered, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]);

    let error = refused(&site.plain, None, Some(Sasl::Plain(alice()))).await?;
    assert_eq!(reason(&error), Some(RefusalReason::NoSasl), "{error}");

    let error = refused(&site.sasl, None, None).await?;
    assert!(error.to_string().contains("does this listener want SASL?"), "{error}");

    let fault = |error: &Error| match &error.kind {
        ErrorKind::Connect(tried) => tried.first().and_then(|attempt| attempt.tls.clone()),
        _ => None,
    };
    let error = refused(&site.sasl_tls, None, Some(Sasl::Plain(alice()))).await?;
    assert_eq!(fault(&error), Some(TlsFault::OnlyTls), "{error}");
    let error = refused(&site.plain, Some(site.trusting()), None).await?;
    assert_eq!(fault(&error), Some(TlsFault::HungUp), "{error}");
    Ok(())
}

async fn a_certificate_that_is_not_right_is_named(site: &Site) -> Outcome<()> {
    let options = |change: &dyn Fn(&mut TlsOptions)| {
        let mut options = site.with_certificate();
        change(&mut options);
        Some(options)
    };
    let fault = async |options: Option<TlsOptions>| {
        let error = refused(&site.tls, options, None).await?;
        let ErrorKind::Connect(tried) = &error.kind else { return Err(error.into()) };
        assert_eq!((error.is_authentication(), error.is_retriable()), (true, false), "{error}");
        Outcome::Ok(tried.first().and_then(|attempt| attempt.tls.clone()))
    };
    let another_ca = options(&|it| it.ca_file = Some(testdata("other-ca.pem")));
    assert_eq!(fault(another_ca).await?, Some(TlsFault::UnknownIssuer));

    let Some(TlsFault::WrongName { presented }) = fault(options(&|it| it.server_name = Some("kafka".into()))).await?
    else {
        return Err("another fault".into());
    };
    assert_eq!(presented, ["localhost", "127.0.0.1"]);

    let none = fault(Some(site.trusting())).await?;
    assert!(matches!(none, Some(TlsFault::CertificateWanted | TlsFault::CertificateRefused(_))), "{none:?}");

    let strange = options(&|it| {
        (it.cert_file, it.key_file) = (Some(testdata("expired.pem")), Some(testdata("expired.key.pem")));
    });
    let strange = fault(strange).await?;
    assert!(matches!(strange, Some(TlsFault::CertificateRefused(_))), "{strange:?}");

    let by_another_name = options(&|it| it.server_name = Some("127.0.0.1".into()));
    use_it(&connect(&site.tls, by_another_name, None).await?, "security-name").await
}

async fn files_that_change_are_used_by_new_connections(site: &Site) -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name);
    std::fs::copy(testdata("other-ca.pem"), file("ca"))?;
    std::fs::write(file("password"), "guess\n")?;
    let tls = Tls::new(TlsOptions { ca_file: Some(file("ca")), ..TlsOptions::default() })?;
    let login = Login { user: "alice".to_owned(), password: Password::File(file("password")) };
    let config = ClientConfig {
        bootstrap_servers: vec![site.sasl_tls.clone()],
        tls: Some(tls),
        sasl: Some(Sasl::ScramSha256(login)),
        ..Default::default()
    };
    let again = || Client::connect(config.clone());
    assert!(again().await.is_err_and(|error| error.to_string().contains("no CA that is trusted")));
    std::fs::copy(site.file(site.ca), file("ca"))?;
    assert!(again().await.is_err_and(|error| error.to_string().contains("invalid credentials")));
    std::fs::remove_file(file("password"))?;
    assert!(again().await.is_err_and(|error| error.to_string().contains("password file") && error.is_retriable()));
    std::fs::write(file("password"), "alice-secret\n")?;
    use_it(&again().await?, "security-files").await?;

    std::fs::write(file("token"), unsecured("alice", Duration::from_secs(600)))?;
    let sasl = Sasl::OAuthBearer(Arc::new(TokenFile::new(file("token"))));
    use_it(&connect(&site.sasl, None, Some(sasl)).await?, "security-token").await
}

/// Writes for so long, and checks that nothing is lost, doubled or late; says how many records there were.
async fn write_on(producer: &Producer, topic: &Topic, until: impl Fn() -> bool) -> Outcome<i64> {
    let mut written = 0;
    while !until() {
        let mut receipts = Vec::new();
        for _ in 0..50 {
            let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new(topic, b"value") };
            receipts.push(timeout(PATIENCE, producer.enqueue(record)).await??);
        }
        for receipt in receipts {
            assert_eq!(timeout(PATIENCE, receipt).await??.offset, Some(written));
            written += 1;
        }
    }
    Ok(written)
}

/// Reads until as many records were read as there are, once that is known.
async fn read_on(consumer: &mut Consumer, mut total: watch::Receiver<Option<i64>>) -> Outcome<i64> {
    let mut read = 0;
    while total.borrow_and_update().is_none_or(|total| read < total) {
        tokio::select! {
            _ = total.changed() => {}
            delivery = timeout(PATIENCE, consumer.next()) => {
                let delivery = delivery?.ok_or("the consumer is closed")??;
                read += i64::try_from(delivery.records().count())?;
                delivery.finish();
            }
        }
    }
    Ok(read)
}

async fn sessions_are_renewed_under_load(site: &Site) -> Outcome<()> {
    let token = bearer(unsecured("alice", Duration::from_secs(600)));
    for sasl in [Sasl::Plain(alice()), Sasl::ScramSha512(alice()), token] {
        let name = format!("security-renewal-{}", sasl.mechanism());
        let client = connect(&site.sasl, None, Some(sasl)).await?;
        let topic = topic(&client, &name).await?;
        let producer = client.producer(ProducerConfig { linger: Duration::ZERO, ..Default::default() })?;
        let group = ConsumerConfig {
            group_id: name,
            topics: vec![topic.clone()],
            auto_offset_reset: OffsetReset::Earliest,
            ..Default::default()
        };
        let mut consumer = client.consumer(group)?;
        let end = Instant::now() + 3 * SESSION;
        let (total, known) = watch::channel(None);
        let writing = async {
            let written = write_on(&producer, &topic, || Instant::now() > end).await?;
            total.send(Some(written))?;
            Ok(())
        };
        let read = tokio::try_join!(writing, read_on(&mut consumer, known))?.1;
        assert_eq!(Some(read), *total.borrow());
        // Each session ended twice at least. A machine that stands still in the wrong moment may cost one connection.
        let closed = client.traffic().closed;
        assert!(closed <= 1, "{closed} connections were lost");
        consumer.close(PATIENCE).await?;
        producer.close(PATIENCE).await?;
        client.close().await;
    }
    Ok(())
}

/// An identity provider over HTTPS, which gives one token to whoever knows the secret.
async fn provider(token: String) -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("https://localhost:{}/token", listener.local_addr()?.port());
    let tls = tokio_rustls::TlsAcceptor::from(server_tls(None).config()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = tls.accept(stream).await?;
            let mut heard = vec![0; 8192];
            let n = stream.read(&mut heard).await?;
            let known = String::from_utf8_lossy(&heard[..n]).contains("Basic aWQ6c2VjcmV0");
            let (status, body) = match known {
                true => ("200 OK", format!(r#"{{"access_token":"{token}","expires_in":600}}"#)),
                false => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()),
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
        }
        Ok::<_, std::io::Error>(())
    });
    Ok(endpoint)
}

async fn tokens_come_from_an_identity_provider(site: &Site) -> Outcome<()> {
    let endpoint = provider(unsecured("alice", Duration::from_secs(600))).await?;
    let oidc = |secret: &str, ca: &str| -> Outcome<Sasl> {
        let tls = Tls::new(TlsOptions { ca_file: Some(testdata(ca)), ..TlsOptions::default() })?;
        let config = OidcConfig::new(&endpoint, "id", Password::Given(secret.into()), tls);
        Ok(Sasl::OAuthBearer(Arc::new(Oidc::new(config)?)))
    };
    use_it(&connect(&site.sasl, None, Some(oidc("secret", "ca.pem")?)).await?, "security-oidc").await?;
    let error = refused(&site.sasl, None, Some(oidc("guess", "ca.pem")?)).await?;
    assert!(error.is_authentication() && error.to_string().contains("invalid_client"), "{error}");
    let error = refused(&site.sasl, None, Some(oidc("secret", "other-ca.pem")?)).await?;
    assert!(error.to_string().contains("no CA that is trusted"), "{error}");
    Ok(())
}

async fn all(site: &Site) -> Outcome<()> {
    every_mechanism_lets_us_in(site).await?;
    a_refusal_says_who_and_how_and_why(site).await?;
    a_wrong_listener_is_recognised(site).await?;
    a_certificate_that_is_not_right_is_named(site).await?;
    tokens_come_from_an_identity_provider(site).await?;
    files_that_change_are_used_by_new_connections(site).await
}

fn sasl(session_lifetime: Option<Duration>) -> SaslConfig {
    let mut mechanisms = vec![Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];
    mechanisms.extend(session_lifetime.map(|_| Mechanism::OAuthBearer));
    SaslConfig { mechanisms, users: vec![User::new("alice", "alice-secret")], session_lifetime }
}

fn server_tls(client_ca: Option<&str>) -> devbroker::TlsOptions {
    let (cert_file, key_file) = (testdata("server.pem"), testdata("server.key.pem"));
    devbroker::TlsOptions { cert_file, key_file, client_ca_file: client_ca.map(testdata) }
}

async fn dev_broker(tls: Option<devbroker::TlsOptions>, sasl: Option<SaslConfig>) -> Outcome<DevBroker> {
    Ok(DevBroker::start(devbroker::Config { tls, sasl, ..Default::default() }).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_dev_broker() -> Outcome<()> {
    let plain = dev_broker(None, None).await?;
    let with_sasl = dev_broker(None, Some(sasl(Some(SESSION)))).await?;
    let tls = dev_broker(Some(server_tls(Some("ca.pem"))), None).await?;
    let sasl_tls = dev_broker(Some(server_tls(None)), Some(sasl(None))).await?;
    let site = Site {
        plain: plain.bootstrap_servers(),
        sasl: with_sasl.bootstrap_servers(),
        tls: tls.bootstrap_servers(),
        sasl_tls: sasl_tls.bootstrap_servers(),
        files: testdata(""),
        ca: "ca.pem",
        certificate: ["client.pem", "client.key.pem"],
    };
    all(&site).await?;
    for broker in [plain, with_sasl, tls, sasl_tls] {
        broker.stop().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_said_to_be() -> Outcome<()> {
    let tls = devbroker::TlsOptions {
        cert_file: testdata("expired.pem"),
        key_file: testdata("expired.key.pem"),
        client_ca_file: None,
    };
    let broker = dev_broker(Some(tls), None).await?;
    let trusting = TlsOptions { ca_file: Some(testdata("expired.pem")), ..TlsOptions::default() };
    let error = refused(&broker.bootstrap_servers(), Some(trusting), None).await?;
    assert!(error.to_string().contains("the certificate has expired") && error.is_authentication(), "{error}");
    Ok(broker.stop().await?)
}

/// Each connection has many sessions: proofs are counted, and connections.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_renewed_on_the_same_connection() -> Outcome<()> {
    for with in [Sasl::Plain(alice()), Sasl::ScramSha256(alice())] {
        let broker = dev_broker(None, Some(sasl(Some(Duration::from_millis(300))))).await?;
        let client = connect(&broker.bootstrap_servers(), None, Some(with)).await?;
        let topic = topic(&client, "t").await?;
        let producer = client.producer(ProducerConfig { linger: Duration::ZERO, ..Default::default() })?;
        let began = Instant::now();
        let renewed = || {
            let proofs = broker.faults().count(SaslHandshakeRequest::KEY);
            proofs >= client.traffic().opened + 5 || began.elapsed() > PATIENCE
        };
        write_on(&producer, &topic, renewed).await?;
        let proofs = broker.faults().count(SaslHandshakeRequest::KEY);
        assert!(proofs >= client.traffic().opened + 5, "{proofs} proofs, {:?}", client.traffic());
        producer.close(PATIENCE).await?;
        client.close().await;
        broker.stop().await?;
    }
    Ok(())
}

/// A password that is changed while a client runs: what it asks fails at once and for good, and the broker is not flooded.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_not_tried_again_and_again() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("password");
    std::fs::write(&file, "alice-secret")?;
    let broker = dev_broker(None, Some(sasl(None))).await?;
    let login = Login { user: "alice".to_owned(), password: Password::File(file.clone()) };
    let client = connect(&broker.bootstrap_servers(), None, Some(Sasl::Plain(login))).await?;
    let topic = topic(&client, "t").await?;
    std::fs::write(&file, "guess")?;
    broker.faults().reset_counts();
    let group = ConsumerConfig { group_id: "g".to_owned(), topics: vec![topic.clone()], ..Default::default() };
    let mut consumer = client.consumer(group)?;
    let heard = timeout(PATIENCE, consumer.next()).await?.ok_or("closed")?.err().ok_or("read")?;
    assert!(heard.is_authentication(), "{heard}");
    // Connections that nobody has made yet.
    let producer = client.producer(ProducerConfig::default())?;
    for _ in 0..20 {
        let error = producer.send(ProducerRecord::new(&topic, b"v")).await.err().ok_or("written")?;
        assert!(error.is_authentication() && error.to_string().contains("PLAIN authentication of alice"), "{error}");
    }
    let proofs = broker.faults().count(SaslHandshakeRequest::KEY);
    assert!(proofs <= 4, "{proofs} proofs with a wrong password");
    Ok(broker.stop().await?)
}

/// Beside what kafka.sh sets: OAUTHBEARER and sessions that end on one listener, and a certificate wanted on another.
fn properties() -> Vec<String> {
    let module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required";
    let mut properties = vec![
        "listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
        format!(
            "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config={module} unsecuredLoginStringClaim_sub=\"admin\";"
        ),
        "listener.name.ssl.ssl.client.auth=required".to_owned(),
    ];
    for mechanism in ["plain", "scram-sha-512", "oauthbearer"] {
        let milliseconds = SESSION.as_millis();
        properties.push(format!("listener.name.sasl_plaintext.{mechanism}.connections.max.reauth.ms={milliseconds}"));
    }
    properties
}

fn on_kafka(version: Version) -> Result<(), Missing> {
    let properties = properties();
    let properties: Vec<_> = properties.iter().map(String::as_str).collect();
    let kafka = Kafka::own_with(version, 1, &properties)?;
    let directory = kafka.directory().unwrap_or_else(|| panic!("a cluster of our own"));
    let site = Site {
        plain: kafka.listener(Listener::Plaintext),
        sasl: kafka.listener(Listener::SaslPlaintext),
        tls: kafka.listener(Listener::Ssl),
        sasl_tls: kafka.listener(Listener::SaslSsl),
        files: directory.join("tls"),
        ca: "ca.crt",
        certificate: ["client.crt", "client.key"],
    };
    finish(async {
        all(&site).await?;
        sessions_are_renewed_under_load(&site).await
    });
    Ok(())
}

#[test]
fn kafka_3_9() {
    let _alone = servers::one_at_a_time();
    servers::or_skip("security of Kafka 3.9", on_kafka(KAFKA_39));
}

#[test]
fn kafka_4_3() {
    let _alone = servers::one_at_a_time();
    servers::or_skip("security of Kafka 4.3", on_kafka(KAFKA_43));
}
