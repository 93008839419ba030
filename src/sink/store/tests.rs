//! One contract, both stores. MongoDB is asked only where `HIGHWATER_TEST_MONGODB` names one.

use bson::doc;

use super::*;
use crate::client::Topic;

fn made(collection: &str, id: &str, timestamp_ms: i64, value: &str) -> Document {
    let time = bson::DateTime::from_millis(timestamp_ms);
    let body = doc! { "_id": id, "value": value, "_kafka": { "timestamp": time } };
    Document { collection: Topic::from(collection), id: id.to_owned(), timestamp_ms, body }
}

async fn contract(store: &dyn DocumentStore, collection: &str) {
    let other = format!("{collection}-other");
    store.ping().await.unwrap();
    let first = [made(collection, "a", 1, "x"), made(&other, "a", 2, "y"), made(collection, "b", 1, "z")];
    assert_eq!(store.insert(&first).await.unwrap(), vec![Outcome::Inserted; 3]);
    let mixed = [made(collection, "b", 1, "z"), made(collection, "c", 1, "new"), made(collection, "a", 9, "another")];
    let want = [Outcome::Present, Outcome::Inserted, Outcome::Taken];
    assert_eq!(store.insert(&mixed).await.unwrap(), want);
    assert_eq!(store.insert(&[]).await.unwrap(), []);
    assert_eq!((store.count(collection).await, store.count(&other).await), (Ok(3), Ok(1)));
    let kept = store.get(collection, "a").await.unwrap().expect("the first one");
    assert_eq!(kept, first[0].body);
    assert_eq!(store.get(collection, "nothing").await, Ok(None));
    let beside = made(collection, "a", 9, "another").beside();
    assert_eq!(store.insert(&[beside.clone(), beside]).await.unwrap(), [Outcome::Inserted, Outcome::Present]);
}

#[tokio::test]
async fn embedded() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path().to_owned()).await.unwrap();
    contract(&store, "logins").await;
    drop(store);
    let again = EmbeddedStore::open(dir.path().to_owned()).await.unwrap();
    assert_eq!(again.count("logins").await, Ok(4), "after it was closed and opened");
}

#[tokio::test]
async fn mongodb() {
    let Ok(uri) = std::env::var("HIGHWATER_TEST_MONGODB") else {
        eprintln!("skipped: HIGHWATER_TEST_MONGODB names no MongoDB");
        return;
    };
    crate::tls::install_provider().unwrap();
    let store = MongoStore::open(&uri.as_str().into(), "highwater_contract").await.unwrap();
    contract(&store, &format!("logins-{}", uuid::Uuid::new_v4())).await;
    let huge = made("huge", &uuid::Uuid::new_v4().to_string(), 1, &"x".repeat(17 << 20));
    let small = made("huge", &uuid::Uuid::new_v4().to_string(), 1, "x");
    let outcomes = store.insert(&[huge, small]).await.unwrap();
    assert!(matches!(outcomes[..], [Outcome::Refused(_), Outcome::Inserted]), "{outcomes:?}");
}

#[tokio::test]
async fn a_uri_that_is_wrong_is_told_without_its_password() {
    for (uri, said) in [
        ("mongodb://admin:hunter2", "MongoDB URI …: it is not mongodb://"),
        ("mongodb://user:hun?ter2@host", "MongoDB URI …: it is not mongodb://"),
        ("mongodb://user:hunter2@host/?w=-1", "MongoDB URI mongodb://…@host/?…: "),
    ] {
        let error = MongoStore::open(&uri.into(), "none").await.unwrap_err().to_string();
        assert!(error.starts_with(said) && !error.contains("hun"), "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_mongodb_is_an_outage() {
    crate::tls::install_provider().unwrap();
    let uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=50";
    let store = MongoStore::open(&uri.into(), "none").await.unwrap();
    let error = store.insert(&[made("c", "a", 1, "x")]).await.unwrap_err().to_string();
    assert!(error.starts_with("MongoDB at 127.0.0.1:1: "), "{error}");
}
