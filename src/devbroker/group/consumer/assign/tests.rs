//! The assignors against what Kafka's own made of the same groups (`protocol-tests/vectors/Assignors.java`).

use serde_json::Value;

use super::*;
use crate::protocol::types::Uuid;

fn id(hex: &str) -> TopicId {
    Uuid(u128::from_str_radix(hex, 16).unwrap().to_be_bytes())
}

fn target(value: &Value) -> Target {
    let partitions = |value: &Value| value.as_array().unwrap().iter().map(|it| it.as_i64().unwrap() as i32).collect();
    value.as_object().unwrap().iter().map(|(topic, it)| (id(topic), partitions(it))).collect()
}

fn reader(value: &Value) -> Reader {
    Reader {
        id: value["id"].as_str().unwrap().into(),
        instance_id: value["instance"].as_str().map(Arc::from),
        topics: value["topics"].as_array().unwrap().iter().map(|it| id(it.as_str().unwrap())).collect(),
        target: target(&value["had"]),
    }
}

#[test]
fn what_kafka_assigns_is_assigned() {
    let vectors = std::env::var("ASSIGNOR_VECTORS").map(|path| std::fs::read_to_string(path).unwrap());
    for (number, line) in vectors.as_deref().unwrap_or(include_str!("vectors.jsonl")).lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        let rows = case["members"].as_array().unwrap();
        let partitions = case["topics"].as_object().unwrap().iter();
        let work = Work {
            members: grown(rows.iter().map(reader).collect(), |reader: &Reader| text(&reader.id)),
            alike: case["alike"].as_bool().unwrap(),
            partitions: partitions.map(|(topic, count)| (id(topic), count.as_i64().unwrap() as i32)).collect(),
        };
        let targets = Assignor::named(case["assignor"].as_str().unwrap()).unwrap().assign(&work);
        for (member, found) in work.members.iter().zip(targets) {
            let row = rows.iter().find(|row| row["id"] == *member.id).unwrap();
            assert_eq!(found, target(&row["has"]), "line {}, member {}", number + 1, member.id);
        }
    }
}
