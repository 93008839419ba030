use std::io::{Read, Write};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ServerConnection};

use super::*;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tls/testdata").join(name)
}

fn client(ca: &str, certificate: bool) -> TlsOptions {
    TlsOptions {
        ca_file: Some(data(ca)),
        cert_file: certificate.then(|| data("client.pem")),
        key_file: certificate.then(|| data("client.key.pem")),
        server_name: None,
    }
}

fn server(demanding: bool) -> ServerOptions {
    ServerOptions {
        cert_file: data("server.pem"),
        key_file: data("server.key.pem"),
        client_ca_file: demanding.then(|| data("ca.pem")),
    }
}

/// Carries bytes between the two until both are quiet, and then a greeting; what is wrong on either side is the error.
fn greet(client: &TlsOptions, server: &ServerOptions, name: &'static str) -> Result<String, TlsError> {
    let mut client = ClientConnection::new(client.config()?, ServerName::try_from(name).expect("a name"))?;
    let mut server = ServerConnection::new(server.config()?)?;
    let carry = |what: &str| TlsError::Rustls(rustls::Error::General(what.to_owned()));
    client.writer().write_all(b"hello").map_err(|_| carry("write"))?;
    while client.wants_write() || server.wants_write() {
        let mut there = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut there).map_err(|_| carry("client to server"))?;
        }
        let mut there = &there[..];
        while !there.is_empty() {
            server.read_tls(&mut there).map_err(|_| carry("server"))?;
            server.process_new_packets()?;
        }
        let mut back = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut back).map_err(|_| carry("server to client"))?;
        }
        let mut back = &back[..];
        while !back.is_empty() {
            client.read_tls(&mut back).map_err(|_| carry("client"))?;
            client.process_new_packets()?;
        }
    }
    let mut heard = [0; 5];
    server.reader().read_exact(&mut heard).map_err(|_| carry("no greeting"))?;
    Ok(String::from_utf8_lossy(&heard).into_owned())
}

#[test]
fn handshakes() {
    let check = |client: TlsOptions, server: ServerOptions, name, want: Result<&str, &str>| {
        let got = greet(&client, &server, name).map_err(|error| error.to_string());
        match want {
            Ok(text) => assert_eq!(got.as_deref(), Ok(text)),
            Err(part) => assert!(got.as_ref().is_err_and(|error| error.contains(part)), "{got:?}, wanted {part}"),
        }
    };
    check(client("ca.pem", false), server(false), "localhost", Ok("hello"));
    check(client("ca.pem", false), server(false), "127.0.0.1", Ok("hello"));
    check(client("ca.pem", true), server(true), "localhost", Ok("hello"));
    check(client("ca.pem", true), server(false), "localhost", Ok("hello"));
    check(client("ca.pem", false), server(true), "localhost", Err("no certificates"));
    check(client("other-ca.pem", false), server(false), "localhost", Err("UnknownIssuer"));
    check(client("ca.pem", false), server(false), "broker.example", Err("not valid for"));
}

#[test]
fn a_mistake_names_its_file() {
    let check = |options: TlsOptions, want: &str| {
        let got = options.config().err().map(|error| error.to_string());
        let want = want.replace("{}", &data("").to_string_lossy());
        assert_eq!(got, Some(want));
    };
    let ca = |name: &str| TlsOptions { ca_file: Some(data(name)), ..TlsOptions::default() };
    let pair = |cert: &str, key: &str| TlsOptions {
        cert_file: Some(data(cert)),
        key_file: Some(data(key)),
        ..client("ca.pem", false)
    };
    check(ca("absent.pem"), "{}absent.pem: cannot be read");
    check(ca("README.md"), "{}README.md: is not PEM");
    check(ca("client.key.pem"), "{}client.key.pem: has no certificate in it");
    check(pair("client.pem", "client.pem"), "{}client.pem: has no private key in it");
    check(pair("client.pem", "README.md"), "{}README.md: is not PEM");
    check(pair("client.key.pem", "client.key.pem"), "{}client.key.pem: has no certificate in it");
    check(pair("client.pem", "server.key.pem"), "{}client.pem is not the certificate of the key in {}server.key.pem");
    for encrypted in ["encrypted.key.pem", "encrypted-sec1.key.pem"] {
        check(
            pair("server.pem", encrypted),
            &format!(
                "{{}}{encrypted}: the private key is encrypted; decrypt it first (openssl pkey -in {{}}{encrypted})"
            ),
        );
    }
    check(
        TlsOptions { cert_file: Some(data("client.pem")), ..client("ca.pem", false) },
        "cert_file is set, and key_file is not: a certificate needs its key, and a key its certificate",
    );
    check(
        TlsOptions { key_file: Some(data("client.key.pem")), ..client("ca.pem", false) },
        "key_file is set, and cert_file is not: a certificate needs its key, and a key its certificate",
    );
}

#[test]
fn broken_pem_names_its_file() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let whole = std::fs::read_to_string(data("ca.pem"))?;
    let check = |text: &str, want: &str| -> Result<(), Box<dyn std::error::Error>> {
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, text)?;
        let options = TlsOptions { ca_file: Some(file.clone()), ..TlsOptions::default() };
        let got = options.config().err().map(|error| error.to_string()).unwrap_or_default();
        assert!(got.starts_with(&format!("{}: {want}", file.display())), "{got}");
        Ok(())
    };
    check(&whole[..whole.len() / 2], "PEM is broken")?;
    check(&whole.replace("MII", "M!!"), "PEM is broken")?;
    check(&whole.replace("MIIB", "AAAA"), "cannot be used")?;
    check("", "is not PEM")
}

#[test]
fn a_processor_is_looked_at_first() {
    assert_eq!(missing(&[("aes", true), ("adx", false), ("avx2", false)]), ["adx", "avx2"]);
    let error = TlsError::Cpu { missing: vec!["adx", "avx2"] };
    assert_eq!(error.to_string(), "TLS needs processor features that this machine lacks: adx, avx2");
}

#[test]
fn libraries_find_the_installed_provider() -> Result<(), TlsError> {
    install_provider()?;
    install_provider()?;
    // What fred and mongodb call.
    assert!(!rustls::crypto::ring::default_provider().cipher_suites.is_empty());
    Ok(())
}

#[test]
fn files_that_change_are_read_again() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name);
    let put = |from: &str, to: &str| std::fs::copy(data(from), file(to));
    put("ca.pem", "ca.pem")?;
    put("client.pem", "cert.pem")?;
    put("client.key.pem", "key.pem")?;
    let tls = Tls::new(TlsOptions {
        ca_file: Some(file("ca.pem")),
        cert_file: Some(file("cert.pem")),
        key_file: Some(file("key.pem")),
        server_name: None,
    })?;
    let first = tls.look();
    assert!(Arc::ptr_eq(&first, &tls.look()));
    // Half of a pair, a file in the middle of being written, and none at all.
    put("server.pem", "cert.pem")?;
    assert!(Arc::ptr_eq(&first, &tls.look()));
    std::fs::write(file("cert.pem"), "-----BEGIN CERT")?;
    assert!(Arc::ptr_eq(&first, &tls.look()));
    std::fs::remove_file(file("cert.pem"))?;
    assert!(Arc::ptr_eq(&first, &tls.look()));
    put("server.pem", "cert.pem")?;
    put("server.key.pem", "key.pem")?;
    let second = tls.look();
    assert!(!Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(&second, &tls.look()));
    Ok(())
}

#[test]
fn a_server_name_is_checked_when_it_is_set() -> Result<(), TlsError> {
    let named = |name: &str| Tls::new(TlsOptions { server_name: Some(name.to_owned()), ..client("ca.pem", false) });
    assert!(named("kafka.example")?.server_name().is_some());
    let error = named("no name").err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("server_name \"no name\" is neither a host name nor an address"));
    Ok(())
}
