"""Puts login records of every kind into a topic, the way a fleet of careless senders would, and writes down where each one
belongs: login_records.py BOOTSTRAP MANIFEST [COUNT=100000] [SEED=7] [TOPIC=user-login] [RATE=0]

The manifest has a line for each record: its id, the side it belongs on (`output` or `dead`), and what kind of record it is.
The id is the record's key, or its header `id` where the key is null or empty. The same seed makes the same records, but for
their timestamps, which lie within the last three days. RATE is in records a second, 0 as fast as it goes."""

import json
import random
import sys
import time

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
PARTITIONS = 6
LARGE = 900_000
THREE_DAYS = 3 * 24 * 3600 * 1000


def login(dice, **changed):
    fields = {
        "user_id": f"user-{dice.randrange(5000)}", "app_version": dice.choice(["2.0.0", "2.0.1", "2.10.3", "10.0.0", "11.2.0"]),
        "device_type": dice.choice(["ios", "android", "web"]), "ip": public_ip(dice),
        "locale": dice.choice(["en-US", "de-DE", "RU"]), "device_id": f"{dice.getrandbits(128):032x}",
        "timestamp": 1_700_000_000 + dice.randrange(10_000_000),
    }
    fields.update(changed)
    return {name: value for name, value in fields.items() if value is not MISSING}


MISSING = object()


def public_ip(dice):
    return dice.choice([
        f"203.0.113.{dice.randrange(256)}", f"11.0.0.{dice.randrange(256)}", f"9.255.255.{dice.randrange(256)}",
        f"172.15.255.{dice.randrange(256)}", f"172.32.0.{dice.randrange(256)}", f"192.167.1.{dice.randrange(256)}",
        f"192.169.1.{dice.randrange(256)}", "2001:db8::7", "1.10.192.168",
    ])


def private_ip(dice):
    return dice.choice([
        f"10.{dice.randrange(256)}.0.1", "10.255.255.255", f"172.{16 + dice.randrange(16)}.3.4", "172.16.0.0",
        "172.31.255.255", f"192.168.{dice.randrange(256)}.9", "192.168.0.0",
    ])


def compact(fields):
    return json.dumps(fields, separators=(",", ":")).encode()


def spaced(dice):
    return (" " + json.dumps(login(dice, note="Grüße, \u4f60\u597d \U0001f600"), indent=2, ensure_ascii=False) + "\n\t ").encode()


def odd_numbers(dice):
    return compact(login(dice))[:-1] + b',"big":123456789012345678901234567890,"exact":1.000,"tiny":1e-300}'


def wrong_utf8(dice):
    return compact(login(dice, locale="XX")).replace(b"XX", b"\xc3\x28\xff")


def without(field):
    return lambda dice: compact(login(dice, **{field: dice.choice([MISSING, "", None])}))


# (kind, side, share of the whole in thousandths, the value)
KINDS = [
    ("plain", "output", 600, lambda dice: compact(login(dice))),
    ("spaced, not only ASCII", "output", 40, spaced),
    ("odd numbers", "output", 30, odd_numbers),
    ("more fields", "output", 30, lambda dice: compact(login(dice, nested={"a": [1, {"b": None}]}, empty={}))),
    ("no ip", "output", 20, lambda dice: compact(login(dice, ip=MISSING))),
    ("an ip that is none", "output", 20, lambda dice: compact(login(dice, ip=dice.choice(["localhost", "10.1", "300.1.1.1", ""])))),
    ("no user_id", "dead", 20, without("user_id")),
    ("no app_version", "dead", 20, without("app_version")),
    ("no device_type", "dead", 20, without("device_type")),
    ("private ip", "dead", 50, lambda dice: compact(login(dice, ip=private_ip(dice)))),
    ("old version", "dead", 40, lambda dice: compact(login(dice, app_version=dice.choice(["1.9.9", "1.10.0", "0.20.0", "1.99.99"])))),
    ("a version that is none", "dead", 10, lambda dice: compact(login(dice, app_version=dice.choice(["two", "2.x", "latest"])))),
    ("broken JSON", "dead", 20, lambda dice: compact(login(dice))[:-dice.randrange(1, 60)]),
    ("more than JSON", "dead", 10, lambda dice: compact(login(dice)) + b"}"),
    ("no object", "dead", 10, lambda dice: dice.choice([b"[]", b'"user"', b"17", b"null", b"true"])),
    ("empty", "dead", 15, lambda dice: b""),
    ("blank", "dead", 5, lambda dice: b" \r\n\t "),
    ("null", "dead", 20, lambda dice: None),
    ("invalid UTF-8", "dead", 15, wrong_utf8),
    ("no text at all", "dead", 5, lambda dice: dice.randbytes(300)),
]
# A few that are large: (kind, side, how many, the value)
LARGE_KINDS = [
    ("large", "output", 3, lambda dice: compact(login(dice, note="x" * LARGE))),
    ("large, private ip", "dead", 3, lambda dice: compact(login(dice, ip="10.0.0.1", note="x" * LARGE))),
    ("large, broken JSON", "dead", 2, lambda dice: compact(login(dice, note="x" * LARGE))[:-1]),
    ("large noise", "dead", 1, lambda dice: b"\xff" + dice.randbytes(LARGE)),
]


def kinds(count, dice):
    """`count` pairs of kind and maker, well mixed."""
    drawn = [(kind, side, make) for kind, side, number, make in LARGE_KINDS for _ in range(number)]
    weights = [share for _, _, share, _ in KINDS]
    assert sum(weights) == 1000, sum(weights)
    drawn += [(kind, side, make) for kind, side, _, make in dice.choices(KINDS, weights, k=count - len(drawn))]
    dice.shuffle(drawn)
    return drawn


def key_and_headers(number, dice):
    """Most records have a key that is their id; the others carry it in a header."""
    shape = dice.randrange(10)
    headers = []
    if shape < 6:
        headers = [("source", b"app"), ("trace", dice.randbytes(16))]
    elif shape == 6:
        headers = [("again", b"1"), ("again", b"2"), ("null", None), ("empty", b""), ("Ключ", b"\xff\x00")]
    elif shape == 7:  # As if it had been here before.
        headers = [("highwater.reason", b"an older one"), ("__connect.errors.topic", b"elsewhere")]
    identity = f"login-{number}"
    if shape == 9:
        return identity, dice.choice([None, b""]), [("id", identity.encode())]
    return identity, identity.encode(), headers


def send(bootstrap, topic, records, rate):
    """Each codec has its producer; all wait for every acknowledgement."""
    errors, began = [], time.monotonic()
    producers = [Producer({
        "bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 20,
        "partitioner": "murmur2_random", "message.max.bytes": 1_048_000, "queue.buffering.max.messages": 1_000_000,
    }) for codec in CODECS]
    for number, (key, value, headers, timestamp) in enumerate(records):
        producer = producers[number // 100 % len(producers)]
        producer.produce(topic, key=key, value=value, headers=headers, timestamp=timestamp,
                         on_delivery=lambda error, _: errors.append(error) if error else None)
        producer.poll(max(0, began + number / rate - time.monotonic()) if rate else 0)
    unsent = sum(producer.flush(120) for producer in producers)
    assert not unsent and not errors, f"{unsent} were not sent, {len(errors)} refused: {errors[:3]}"


def main(bootstrap, manifest, count="100000", seed="7", topic="user-login", rate="0"):
    dice, now, records = random.Random(int(seed)), int(time.time() * 1000), []
    admin = AdminClient({"bootstrap.servers": bootstrap})
    created = admin.create_topics([NewTopic(topic, PARTITIONS, -1)])[topic]
    assert created.exception(60) is None, created.exception()
    with open(manifest, "w", encoding="utf-8") as lines:
        for number, (kind, side, make) in enumerate(kinds(int(count), dice)):
            identity, key, headers = key_and_headers(number, dice)
            records.append((key, make(dice), headers, now - dice.randrange(THREE_DAYS)))
            lines.write(f"{identity}\t{side}\t{kind}\n")
    send(bootstrap, topic, records, float(rate))
    print(f"{len(records)} records are in {topic}")


if __name__ == "__main__":
    main(*sys.argv[1:])
