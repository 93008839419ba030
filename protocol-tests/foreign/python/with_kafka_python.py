"""kafka-python: the protocol in plain Python."""

import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError, NoError, for_code
from kafka.protocol.consumer.offsets import OffsetSpec, OffsetTimestamp
from kafka.structs import OffsetAndMetadata

from client import EARLIEST, LATEST, MAX_TIMESTAMP, NAMES, Client, Group, Record, Refused

READ_DEADLINE = 30
ASSIGNORS = {"range": RangePartitionAssignor, "cooperative-sticky": CooperativeStickyAssignor}
CODES = {for_code(code).__name__: code for code in NAMES}


def asked(request, *arguments, **named):
    try:
        return request(*arguments, **named)
    except KafkaError as error:
        raise Refused(getattr(error, "errno", -1), str(error)) from error


def record_of(message):
    return Record(message.key, message.value, tuple((name, value) for name, value in message.headers),
                  message.timestamp, message.partition, message.offset)


class KafkaPython(Client):
    name = "kafka-python"
    assignors = tuple(ASSIGNORS)
    sends_null_headers = False
    # A member of its groups may never be assigned anything, on Kafka too (see Subscribed.poll); it may try once more.
    may_stall = True

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def create_topic(self, topic, partitions, configs=None):
        wanted = {"num_partitions": partitions, "configs": configs or {}}
        asked(self.admin.create_topics, {topic: wanted})

    def delete_topic(self, topic):
        asked(self.admin.delete_topics, [topic])

    def grow_topic(self, topic, partitions):
        asked(self.admin.create_partitions, {topic: partitions})

    def partitions(self, topic):
        (found,) = asked(self.admin.describe_topics, [topic])
        if found["error_code"]:
            raise Refused(found["error_code"])
        return len(found["partitions"])

    def produce(self, topic, records, codec="none", idempotent=True):
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, enable_idempotence=idempotent, linger_ms=5,
                                 max_in_flight_requests_per_connection=5 if idempotent else 1,
                                 compression_type=None if codec == "none" else codec, max_request_size=10_000_000)
        futures = [
            producer.send(topic, key=r.key, value=r.value, headers=list(r.headers), partition=r.partition,
                          timestamp_ms=r.timestamp)
            for r in records
        ]
        try:
            done = [asked(future.get, timeout=60) for future in futures]
        finally:
            producer.close()
        return [(placed.partition, placed.offset) for placed in done]

    def _consumer(self, *topics, **settings):
        return KafkaConsumer(*topics, bootstrap_servers=self.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100,
                             **settings)

    def transact(self, topic, transactions):
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=topic)
        producer.init_transactions()
        for records, is_committed in transactions:
            producer.begin_transaction()
            for record in records:
                producer.send(topic, value=record.value, partition=record.partition, timestamp_ms=record.timestamp)
            producer.flush()
            (producer.commit_transaction if is_committed else producer.abort_transaction)()
        producer.close()

    def read(self, topic, partitions, count, start=EARLIEST, reset=EARLIEST, isolation="read_uncommitted"):
        consumer = self._consumer(auto_offset_reset=reset, group_id=None, isolation_level=isolation)
        places = [TopicPartition(topic, partition) for partition in partitions]
        consumer.assign(places)
        found = consumer.offsets_for_times({p: start[1] for p in places}) if start[0] == "time" else {}
        for place in places:
            if start == EARLIEST:
                consumer.seek_to_beginning(place)
            elif start[0] == "offset":
                consumer.seek(place, start[1])
            elif found[place] is None:
                consumer.seek_to_end(place)
            else:
                consumer.seek(place, found[place].offset)
        records, deadline = [], time.monotonic() + READ_DEADLINE
        while len(records) < count and time.monotonic() < deadline:
            for messages in consumer.poll(timeout_ms=200, max_records=count - len(records)).values():
                records.extend(record_of(message) for message in messages)
        consumer.close()
        return records

    def list_offsets(self, topic, partitions, spec):
        specs = {EARLIEST: OffsetSpec.EARLIEST, LATEST: OffsetSpec.LATEST, MAX_TIMESTAMP: OffsetSpec.MAX_TIMESTAMP}
        wanted = specs[spec] if spec in specs else OffsetTimestamp(spec[1])
        found = asked(self.admin.list_partition_offsets, {TopicPartition(topic, p): wanted for p in partitions})
        return {p.partition: None if at.offset < 0 else at.offset for p, at in found.items()}

    def _configs(self, kind, name):
        resource = ConfigResource(kind, name)
        found = asked(self.admin.describe_configs, [resource], config_filter="all")
        (configs,) = [by_name[str(name)] for by_name in found.values()]
        if not configs:
            raise Refused(3, "kafka-python shows no settings and hides the code")
        return {key: config["value"] for key, config in configs.items()}

    def topic_configs(self, topic):
        return self._configs(ConfigResourceType.TOPIC, topic)

    def broker_configs(self):
        return self._configs(ConfigResourceType.BROKER, self.admin.describe_cluster()["brokers"][0]["broker_id"])

    def groups(self):
        return {group["group_id"] for group in asked(self.admin.list_groups)}

    def describe_group(self, group):
        found = asked(self.admin.describe_groups, [group])[group]
        held = [m["member_assignment"] for m in found["members"] if m["member_assignment"]]
        assigned = [p for assignment in held for t in assignment["assigned_partitions"] for p in t["partitions"]]
        assert len(assigned) == len(set(assigned)), f"a partition has two owners: {assigned}"
        return Group(found["group_state"], found["protocol_data"], len(found["members"]), frozenset(assigned))

    def committed(self, group):
        found = asked(self.admin.list_group_offsets, group)[group]
        return {(p.topic, p.partition): at.offset for p, at in found.items() if at.offset >= 0}

    def delete_group(self, group):
        outcome = asked(self.admin.delete_groups, [group])[group]
        if outcome != "OK":
            raise Refused(CODES.get(outcome, -1), outcome)

    def alter_committed(self, group, offsets):
        wanted = {TopicPartition(*place): OffsetAndMetadata(offset, "", None) for place, offset in offsets.items()}
        for place, error in asked(self.admin.alter_group_offsets, group, wanted).items():
            if error is not NoError:
                raise Refused(error.errno, str(place))

    def open_consumer(self, group, topic, assignor):
        return Subscribed(self._consumer(
            topic, group_id=group, auto_offset_reset=EARLIEST, session_timeout_ms=10_000, heartbeat_interval_ms=300,
            partition_assignment_strategy=[ASSIGNORS[assignor]]))

    def close(self):
        self.admin.close()


class Subscribed:
    def __init__(self, consumer):
        self.consumer = consumer

    def poll(self):
        # A poll that ends while a join is under way loses what the join brings (3.0.12): then nothing is ever assigned.
        polled = self.consumer.poll(timeout_ms=1000)
        return [record_of(message) for messages in polled.values() for message in messages]

    def assignment(self):
        return {place.partition for place in self.consumer.assignment()}

    def commit(self):
        try:
            self.consumer.commit()
        except KafkaError:
            pass  # A rebalance was faster: whoever owns the partition now reads these records again.

    def close(self):
        self.consumer.close()
