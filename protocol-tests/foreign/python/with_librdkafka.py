"""confluent-kafka, which is librdkafka."""

import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka import IsolationLevel, TopicCollection
from confluent_kafka.admin import (
    AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType,
)

from client import EARLIEST, LATEST, MAX_TIMESTAMP, Client, Group, Record, Refused

READ_DEADLINE = 30


def answer(future):
    try:
        return future.result(30)
    except KafkaException as error:
        raise Refused(error.args[0].code(), error.args[0].str()) from error


def record_of(message):
    return Record(message.key(), message.value(), tuple(message.headers() or ()), message.timestamp()[1],
                  message.partition(), message.offset())


class Librdkafka(Client):
    name = "librdkafka"
    assignors = ("range", "cooperative-sticky")

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.admin = AdminClient({"bootstrap.servers": bootstrap})

    def create_topic(self, topic, partitions, configs=None):
        new = NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=configs or {})
        answer(self.admin.create_topics([new])[topic])

    def delete_topic(self, topic):
        answer(self.admin.delete_topics([topic])[topic])

    def grow_topic(self, topic, partitions):
        answer(self.admin.create_partitions([NewPartitions(topic, partitions)])[topic])

    def partitions(self, topic):
        return len(answer(self.admin.describe_topics(TopicCollection([topic]))[topic]).partitions)

    def produce(self, topic, records, codec="none", idempotent=True):
        # Only idempotence keeps several requests in order when one of them is tried again.
        producer = Producer({
            "bootstrap.servers": self.bootstrap, "compression.type": codec, "enable.idempotence": idempotent,
            "max.in.flight.requests.per.connection": 5 if idempotent else 1,
            "partitioner": "murmur2_random", "message.max.bytes": 10_000_000, "linger.ms": 5,
        })
        places, errors = [None] * len(records), []

        def delivered(index):
            def callback(error, message):
                if error is None:
                    places[index] = (message.partition(), message.offset())
                else:
                    errors.append(error)
            return callback

        for index, record in enumerate(records):
            chosen = {} if record.partition is None else {"partition": record.partition}
            producer.produce(topic, key=record.key, value=record.value, headers=list(record.headers),
                             timestamp=record.timestamp or 0, on_delivery=delivered(index), **chosen)
            producer.poll(0)
        assert producer.flush(60) == 0, "not all was sent within a minute"
        if errors:
            raise Refused(errors[0].code(), errors[0].str())
        return places

    def _consumer(self, **settings):
        return Consumer({"bootstrap.servers": self.bootstrap, "enable.auto.commit": False, "group.id": "unused",
                         "fetch.wait.max.ms": 100, **settings})

    def transact(self, topic, transactions):
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": topic})
        producer.init_transactions(60)
        for records, is_committed in transactions:
            producer.begin_transaction()
            for record in records:
                producer.produce(topic, value=record.value, partition=record.partition, timestamp=record.timestamp)
            # What is not sent yet would never be, if it is given up.
            assert producer.flush(60) == 0, "not all was sent within a minute"
            (producer.commit_transaction if is_committed else producer.abort_transaction)(60)

    def read(self, topic, partitions, count, start=EARLIEST, reset=EARLIEST, isolation="read_uncommitted"):
        consumer = self._consumer(**{"auto.offset.reset": reset, "isolation.level": isolation})
        places = [TopicPartition(topic, partition, -2) for partition in partitions]
        if start != EARLIEST:
            for place in places:
                place.offset = start[1]
        if start[0] == "time":
            places = consumer.offsets_for_times(places, timeout=30)
        consumer.assign(places)
        records, deadline = [], time.monotonic() + READ_DEADLINE
        while len(records) < count and time.monotonic() < deadline:
            for message in consumer.consume(count - len(records), timeout=0.2):
                if message.error():
                    raise Refused(message.error().code(), message.error().str())
                records.append(record_of(message))
        consumer.close()
        return records

    def list_offsets(self, topic, partitions, spec):
        specs = {EARLIEST: OffsetSpec.earliest, LATEST: OffsetSpec.latest, MAX_TIMESTAMP: OffsetSpec.max_timestamp}
        wanted = specs[spec]() if spec in specs else OffsetSpec.for_timestamp(spec[1])
        futures = self.admin.list_offsets({TopicPartition(topic, p): wanted for p in partitions},
                                          isolation_level=IsolationLevel.READ_UNCOMMITTED)
        offsets = {place.partition: answer(future).offset for place, future in futures.items()}
        return {p: None if offset < 0 else offset for p, offset in offsets.items()}

    def _configs(self, kind, name):
        resource = ConfigResource(kind, name)
        return {c.name: c.value for c in answer(self.admin.describe_configs([resource])[resource]).values()}

    def topic_configs(self, topic):
        return self._configs(ResourceType.TOPIC, topic)

    def broker_configs(self):
        return self._configs(ResourceType.BROKER, str(next(iter(self.admin.list_topics(timeout=30).brokers))))

    def groups(self):
        listed = answer(self.admin.list_consumer_groups())
        assert not listed.errors, listed.errors
        return {group.group_id for group in listed.valid}

    def describe_group(self, group):
        found = answer(self.admin.describe_consumer_groups([group])[group])
        assigned = [p.partition for member in found.members for p in member.assignment.topic_partitions]
        assert len(assigned) == len(set(assigned)), f"a partition has two owners: {assigned}"
        return Group(found.state.name.replace("_", "").capitalize(), found.partition_assignor, len(found.members),
                     frozenset(assigned))

    def committed(self, group):
        places = answer(self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group])
        return {(p.topic, p.partition): p.offset for p in places.topic_partitions}

    def delete_group(self, group):
        answer(self.admin.delete_consumer_groups([group])[group])

    def alter_committed(self, group, offsets):
        places = [TopicPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        answer(self.admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])[group])

    def open_consumer(self, group, topic, assignor):
        consumer = self._consumer(**{"group.id": group, "auto.offset.reset": EARLIEST, "session.timeout.ms": 10_000,
                                     "heartbeat.interval.ms": 300, "partition.assignment.strategy": assignor})
        consumer.subscribe([topic])
        return Subscribed(consumer)


class Subscribed:
    def __init__(self, consumer):
        self.consumer = consumer

    def poll(self):
        messages = self.consumer.consume(100, timeout=0.1)
        return [record_of(message) for message in messages if not message.error()]

    def assignment(self):
        return {place.partition for place in self.consumer.assignment()}

    def commit(self):
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException:
            pass  # A rebalance was faster: whoever owns the partition now reads these records again.

    def close(self):
        self.consumer.close()
