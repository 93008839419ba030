"""What must be true of a broker, whichever client asks. Each scenario is one function of (client, fresh): `fresh` gives a
topic or group name that nobody else uses; topics are deleted afterwards."""

from client import CODECS, EARLIEST, LATEST, MAX_TIMESTAMP, Record, Refused, wait_until

SCENARIOS = []


class NotInThisClient(Exception):
    """The client has no way to ask."""


def scenario(function):
    SCENARIOS.append(function)
    return function


def equal(got, want, what):
    assert got == want, f"{what}: got {excerpt(got)}, want {excerpt(want)}"


def excerpt(value):
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:600]} ..."


def refused(name, request, *arguments):
    try:
        answer = request(*arguments)
    except Refused as refusal:
        equal(refusal.name, name, f"{request.__name__}{arguments} is refused")
    else:
        raise AssertionError(f"{request.__name__}{arguments} is not refused with {name}, but answers {answer!r}")


def partitions_or_none(client, topic):
    try:
        return client.partitions(topic)
    except Refused as refusal:
        return None if refusal.name == "UNKNOWN_TOPIC_OR_PARTITION" else refusal.name


def topic_of(client, fresh, partitions=1, configs=None):
    topic = fresh()
    client.create_topic(topic, partitions, configs)
    wait_until(lambda: partitions_or_none(client, topic) == partitions, f"{topic} is created")
    wait_until(lambda: is_led(client, topic, partitions), f"{topic} is led")
    return topic


def is_led(client, topic, partitions):
    """A broker shows a topic before it leads its partitions; only who leads says where one ends."""
    try:
        return client.list_offsets(topic, range(partitions), LATEST) == dict.fromkeys(range(partitions), 0)
    except Refused:
        return False


def numbered(count, first=0, partitions=None):
    return [Record(value=b"%d" % n, partition=n % partitions if partitions else None, timestamp=1_700_000_000_000 + n)
            for n in range(first, first + count)]


def values(records):
    return [int(record.value) for record in records]


@scenario
def topics_are_created_described_grown_and_deleted(client, fresh):
    topic = topic_of(client, fresh, 2)
    client.grow_topic(topic, 5)
    wait_until(lambda: partitions_or_none(client, topic) == 5, "the topic has grown")
    client.delete_topic(topic)
    wait_until(lambda: partitions_or_none(client, topic) is None, "the topic is gone")


@scenario
def wrong_requests_for_topics_are_refused_by_name(client, fresh):
    topic = topic_of(client, fresh, 2)
    refused("TOPIC_ALREADY_EXISTS", client.create_topic, topic, 2)
    for name in ["a b", "x" * 250, ".."]:
        refused("INVALID_TOPIC_EXCEPTION", client.create_topic, name, 1)
    refused("INVALID_PARTITIONS", client.create_topic, fresh(), 0)
    refused("INVALID_CONFIG", client.create_topic, fresh(), 1, {"no.such.config": "1"})
    refused("INVALID_CONFIG", client.create_topic, fresh(), 1, {"retention.ms": "soon"})
    refused("INVALID_PARTITIONS", client.grow_topic, topic, 2)
    refused("INVALID_PARTITIONS", client.grow_topic, topic, 1)
    refused("UNKNOWN_TOPIC_OR_PARTITION", client.grow_topic, fresh(), 3)
    refused("UNKNOWN_TOPIC_OR_PARTITION", client.delete_topic, fresh())
    refused("UNKNOWN_TOPIC_OR_PARTITION", client.topic_configs, fresh())


@scenario
def every_codec_keeps_every_byte(client, fresh):
    topic = topic_of(client, fresh, len(CODECS))
    headers = (("name", b"first"), ("name", b"second"), ("empty", b""), ("Wörter", bytes(range(256))))
    headers += (("null", None),) if client.sends_null_headers else ()
    for partition, codec in enumerate(CODECS):
        sent = [
            Record(b"key", b"value", headers, 1_700_000_000_123, partition),
            Record(None, b"no key", (), 1_700_000_000_122, partition),
            Record(b"no value", None, (), 1_700_000_000_124, partition),
            Record(b"", b"", (), 0, partition),
            Record(bytes(range(256)), bytes(range(256)) * 300, (), 1_700_000_000_125, partition),
            *(Record(b"k%d" % n, b"the same again and again " * 40, (), 1_700_000_001_000 + n, partition) for n in range(200)),
        ]
        if client.name == "librdkafka":
            sent[3] = Record(b"", b"", (), 1, partition)  # There, 0 stands for "now".
        places = client.produce(topic, sent, codec)
        equal(places, [(partition, offset) for offset in range(len(sent))], f"{codec}: the places of the records")
        got = client.read(topic, [partition], len(sent))
        equal([r.sent() for r in got], [r.sent() for r in sent], f"{codec}: the records")
        equal([r.offset for r in got], list(range(len(sent))), f"{codec}: the offsets")


@scenario
def idempotent_and_plain_producers_write_each_record_once_and_in_order(client, fresh):
    for idempotent in [True, False]:
        topic = topic_of(client, fresh, 3)
        sent = [Record(value=b"%d" % n, partition=n % 3) for n in range(3000)]
        places = client.produce(topic, sent, "lz4", idempotent)
        equal(places, [(n % 3, n // 3) for n in range(3000)], "the places of the records")
        for partition in range(3):
            got = client.read(topic, [partition], 1000)
            equal(values(got), list(range(partition, 3000, 3)), f"partition {partition}")


@scenario
def a_key_goes_to_the_partition_that_java_would_choose(client, fresh):
    topic = topic_of(client, fresh, 12)
    keys = [b"user-%d" % n for n in range(200)] + ["schlüssel".encode(), b"\x00", b"\xff" * 7, b"abc", b"abcd", b"abcde"]
    places = client.produce(topic, [Record(key=key, value=b"") for key in keys])
    equal([partition for partition, _ in places], [partition_of(key, 12) for key in keys], "the partitions")


def partition_of(key, partitions):
    """murmur2 with the seed of Kafka's Utils.murmur2, made positive."""
    m, h = 0x5BD1E995, (0x9747B28C ^ len(key)) & 0xFFFFFFFF
    whole = len(key) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start:start + 4], "little") * m & 0xFFFFFFFF
        h = h * m & 0xFFFFFFFF ^ ((k ^ k >> 24) * m & 0xFFFFFFFF)
    if rest := key[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


@scenario
def reading_starts_at_the_beginning_an_offset_or_a_time(client, fresh):
    topic = topic_of(client, fresh)
    client.produce(topic, numbered(100))
    for start, first in [(EARLIEST, 0), (("offset", 42), 42), (("time", 1_700_000_000_070), 70), (("time", 5), 0)]:
        got = client.read(topic, [0], 100 - first, start)
        equal(values(got), list(range(first, 100)), f"from {start}")


@scenario
def an_offset_out_of_range_is_reset(client, fresh):
    topic = topic_of(client, fresh)
    client.produce(topic, numbered(10))
    equal(values(client.read(topic, [0], 10, ("offset", 1000), EARLIEST)), list(range(10)), "from beyond the end")


@scenario
def offsets_are_listed_by_every_spec(client, fresh):
    topic = topic_of(client, fresh, 3)
    times = [1000, 3000, 2000, 5000, 4000]  # Kafka answers with the first record that is not older.
    client.produce(topic, [Record(value=b"x", timestamp=time, partition=0) for time in times])
    client.produce(topic, [Record(value=b"x", timestamp=9000, partition=1)])
    cases = [
        (EARLIEST, {0: 0, 1: 0, 2: 0}),
        (LATEST, {0: 5, 1: 1, 2: 0}),
        (("time", 0), {0: 0, 1: 0, 2: None}),
        (("time", 1001), {0: 1, 1: 0, 2: None}),
        (("time", 3001), {0: 3, 1: 0, 2: None}),
        (("time", 5000), {0: 3, 1: 0, 2: None}),
        (("time", 5001), {0: None, 1: 0, 2: None}),
    ]
    if client.lists_max_timestamp:
        cases.append((MAX_TIMESTAMP, {0: 3, 1: 0, 2: None}))
    for spec, want in cases:
        equal(client.list_offsets(topic, [0, 1, 2], spec), want, f"offsets by {spec}")


@scenario
def a_record_that_is_too_large_is_refused(client, fresh):
    topic = topic_of(client, fresh, 1, {"max.message.bytes": "20000"})
    refused("MESSAGE_TOO_LARGE", client.produce, topic, [Record(value=bytes(range(256)) * 100)])
    client.produce(topic, [Record(value=bytes(10_000))])
    equal(client.list_offsets(topic, [0], LATEST), {0: 1}, "only the small one is there")


@scenario
def settings_of_topics_and_brokers_are_readable(client, fresh):
    topic = topic_of(client, fresh, 1, {"retention.ms": "7200000", "cleanup.policy": "compact"})
    configs = client.topic_configs(topic)
    equal(configs["retention.ms"], "7200000", "a setting that was given")
    equal(configs["cleanup.policy"], "compact", "a setting that was given")
    equal(configs["max.message.bytes"], "1048588", "a setting that was not")
    equal(configs["message.timestamp.type"], "CreateTime", "a setting that was not")
    broker = client.broker_configs()
    equal(broker["message.max.bytes"], "1048588", "a setting of the broker")
    assert int(broker["num.partitions"]) >= 1, broker["num.partitions"]


@scenario
def append_time_replaces_the_senders_time(client, fresh):
    topic = topic_of(client, fresh, 1, {"message.timestamp.type": "LogAppendTime"})
    client.produce(topic, numbered(3), "zstd")
    times = {record.timestamp for record in client.read(topic, [0], 3)}
    assert min(times) > 1_750_000_000_000, times


@scenario
def a_group_shares_out_partitions_as_members_come_and_go(client, fresh):
    for assignor in client.assignors:
        members_come_and_go(client, fresh, assignor)


def members_come_and_go(client, fresh, assignor):
    topic, group = topic_of(client, fresh, 6), fresh()
    client.produce(topic, numbered(300, 0, 6))
    with client.join(group, topic, assignor) as first:
        alive = lambda: f"{assignor}: {first.assignment} {first.failed!r}"
        wait_until(lambda: len(first.assignment) == 6, alive)
        with client.join(group, topic, assignor) as second:
            shares = lambda: f"{assignor}: {first.assignment} {second.assignment} {first.failed!r} {second.failed!r}"
            wait_until(lambda: (len(first.assignment), len(second.assignment)) == (3, 3)
                       and not first.assignment & second.assignment, shares)
            described = wait_until(lambda: stable(client, group, 2), "the group is stable with two members")
            equal((described.protocol, described.assigned), (assignor, frozenset(range(6))), "the group")
            client.produce(topic, numbered(300, 300, 6))
            wait_until(lambda: all_read([first, second], 600), "600 records are read")
            first.leave()
            wait_until(lambda: len(second.assignment) == 6, shares)
            client.produce(topic, numbered(300, 600, 6))
            wait_until(lambda: all_read([first, second], 900), "900 records are read")
            want = {(topic, partition): 150 for partition in range(6)}
            wait_until(lambda: client.committed(group) == want, lambda: f"committed: {client.committed(group)}")
            second.leave()
    wait_until(lambda: client.describe_group(group).state == "Empty", "the group is empty")
    client.produce(topic, numbered(12, 900, 6))
    with client.join(group, topic, assignor) as third:
        wait_until(lambda: len(third.records) >= 12, "the new records are read")
        third.leave()
        equal(sorted(values(third.records)), list(range(900, 912)), "a new member goes on after what was committed")


def stable(client, group, members):
    described = client.describe_group(group)
    return described if (described.state, described.members) == ("Stable", members) else None


def all_read(members, count):
    return {n for member in members for n in values(list(member.records))} == set(range(count))


@scenario
def a_group_is_listed_altered_and_deleted(client, fresh):
    topic, group = topic_of(client, fresh, 2), fresh()
    client.produce(topic, numbered(20, 0, 2))
    with client.join(group, topic) as member:
        wait_until(lambda: all_read([member], 20), lambda: f"20 records are read {member.failed!r}")
        assert group in client.groups(), "the group is listed"
        if client.alters_groups:
            refused("NON_EMPTY_GROUP", client.delete_group, group)
        member.leave()
    wait_until(lambda: client.describe_group(group).state == "Empty", "the group is empty")
    equal(client.committed(group), {(topic, 0): 10, (topic, 1): 10}, "the offsets of the group")
    if not client.alters_groups:
        raise NotInThisClient("alter and delete a group")
    client.alter_committed(group, {(topic, 0): 7})
    equal(client.committed(group), {(topic, 0): 7, (topic, 1): 10}, "the altered offsets")
    with client.join(group, topic) as member:
        wait_until(lambda: len(member.records) >= 3, "reading goes on from the altered offset")
        member.leave()
        equal(sorted((r.partition, r.offset) for r in member.records), [(0, 7), (0, 8), (0, 9)], "read again")
    client.delete_group(group)
    assert group not in client.groups(), "the group is still listed"
    equal(client.committed(group), {}, "the offsets of a deleted group")
    refused("GROUP_ID_NOT_FOUND", client.delete_group, group)
