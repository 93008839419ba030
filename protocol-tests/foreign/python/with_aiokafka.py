"""aiokafka: asyncio, driven here from a thread of its own."""

import asyncio
import threading
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment as Assignment
from aiokafka.errors import KafkaError

from client import EARLIEST, LATEST, Client, Group, Record, Refused

READ_DEADLINE = 30
ASSIGNORS = {"range": RangePartitionAssignor, "sticky": StickyPartitionAssignor}


def record_of(message):
    return Record(message.key, message.value, tuple(message.headers), message.timestamp, message.partition,
                  message.offset)


def check(errors):
    """Of rows (topic, error code, maybe more)."""
    for row in errors:
        if row[1]:
            raise Refused(row[1], row[0])


class Aiokafka(Client):
    name = "aiokafka"
    assignors = tuple(ASSIGNORS)
    lists_max_timestamp = False
    alters_groups = False

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.admin = self.run(self._started(lambda: AIOKafkaAdminClient(bootstrap_servers=bootstrap)))

    def run(self, coroutine):
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(90)
        except KafkaError as error:
            raise Refused(getattr(error, "errno", -1), str(error)) from error

    @staticmethod
    async def _started(make):
        made = make()
        await made.start()
        return made

    def create_topic(self, topic, partitions, configs=None):
        new = NewTopic(topic, partitions, 1, topic_configs=configs or {})
        check(self.run(self.admin.create_topics([new])).topic_errors)

    def delete_topic(self, topic):
        check(self.run(self.admin.delete_topics([topic])).topic_error_codes)

    def grow_topic(self, topic, partitions):
        self.run(self.admin.create_partitions({topic: NewPartitions(partitions)}))

    def partitions(self, topic):
        (found,) = self.run(self.admin.describe_topics([topic]))
        check([(topic, found["error_code"])])
        return len(found["partitions"])

    def produce(self, topic, records, codec="none", idempotent=True):
        return self.run(self._produce(topic, records, None if codec == "none" else codec, idempotent))

    async def _produce(self, topic, records, codec, idempotent):
        producer = await self._started(lambda: AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, compression_type=codec, enable_idempotence=idempotent, linger_ms=5,
            max_request_size=10_000_000))
        try:
            sent = [await producer.send(topic, key=r.key, value=r.value, headers=list(r.headers),
                                        partition=r.partition, timestamp_ms=r.timestamp) for r in records]
            return [((placed := await future).partition, placed.offset) for future in sent]
        finally:
            await producer.stop()

    def _consumer(self, *topics, **settings):
        return self._started(lambda: AIOKafkaConsumer(
            *topics, bootstrap_servers=self.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100, **settings))

    def transact(self, topic, transactions):
        self.run(self._transact(topic, transactions))

    async def _transact(self, topic, transactions):
        producer = await self._started(lambda: AIOKafkaProducer(bootstrap_servers=self.bootstrap, transactional_id=topic))
        try:
            for records, is_committed in transactions:
                await producer.begin_transaction()
                for record in records:
                    await producer.send_and_wait(topic, value=record.value, partition=record.partition, timestamp_ms=record.timestamp)
                await (producer.commit_transaction() if is_committed else producer.abort_transaction())
        finally:
            await producer.stop()

    def read(self, topic, partitions, count, start=EARLIEST, reset=EARLIEST, isolation="read_uncommitted"):
        return self.run(self._read([TopicPartition(topic, p) for p in partitions], count, start, reset, isolation))

    async def _read(self, places, count, start, reset, isolation):
        consumer = await self._consumer(auto_offset_reset=reset, isolation_level=isolation)
        try:
            consumer.assign(places)
            found = await consumer.offsets_for_times({p: start[1] for p in places}) if start[0] == "time" else {}
            for place in places:
                if start == EARLIEST:
                    await consumer.seek_to_beginning(place)
                elif start[0] == "offset":
                    consumer.seek(place, start[1])
                elif found[place] is None:
                    await consumer.seek_to_end(place)
                else:
                    consumer.seek(place, found[place].offset)
            records, deadline = [], time.monotonic() + READ_DEADLINE
            while len(records) < count and time.monotonic() < deadline:
                polled = await consumer.getmany(timeout_ms=200, max_records=count - len(records))
                records.extend(record_of(message) for messages in polled.values() for message in messages)
            return records
        finally:
            await consumer.stop()

    def list_offsets(self, topic, partitions, spec):
        return self.run(self._list_offsets([TopicPartition(topic, p) for p in partitions], spec))

    async def _list_offsets(self, places, spec):
        consumer = await self._consumer()
        try:
            if spec == EARLIEST:
                found = await consumer.beginning_offsets(places)
            elif spec == LATEST:
                found = await consumer.end_offsets(places)
            else:
                by_time = await consumer.offsets_for_times({place: spec[1] for place in places})
                found = {place: at and at.offset for place, at in by_time.items()}
            return {place.partition: offset for place, offset in found.items()}
        finally:
            await consumer.stop()

    def _configs(self, kind, name):
        (response,) = self.run(self.admin.describe_configs([ConfigResource(kind, name)]))
        ((code, _, _, _, entries),) = response.resources
        check([(name, code)])
        return {entry[0]: entry[1] for entry in entries}

    def topic_configs(self, topic):
        return self._configs(ConfigResourceType.TOPIC, topic)

    def broker_configs(self):
        cluster = self.run(self.admin.describe_cluster())
        return self._configs(ConfigResourceType.BROKER, str(cluster["brokers"][0]["node_id"]))

    def groups(self):
        return {group[0] for group in self.run(self.admin.list_consumer_groups())}

    def describe_group(self, group):
        (response,) = self.run(self.admin.describe_consumer_groups([group]))
        code, _, state, _, protocol, members = response.groups[0][:6]
        check([(group, code)])
        held = [Assignment.decode(member[4]) for member in members if member[4]]
        assigned = [p for assignment in held for _, partitions in assignment.assignment for p in partitions]
        assert len(assigned) == len(set(assigned)), f"a partition has two owners: {assigned}"
        return Group(state, protocol, len(members), frozenset(assigned))

    def committed(self, group):
        found = self.run(self.admin.list_consumer_group_offsets(group))
        return {(p.topic, p.partition): at.offset for p, at in found.items() if at.offset >= 0}

    def open_consumer(self, group, topic, assignor):
        return Subscribed(self, self.run(self._consumer(
            topic, group_id=group, auto_offset_reset=EARLIEST, session_timeout_ms=10_000, heartbeat_interval_ms=300,
            partition_assignment_strategy=[ASSIGNORS[assignor]])))

    def close(self):
        self.run(self.admin.close())
        self.loop.call_soon_threadsafe(self.loop.stop)


class Subscribed:
    def __init__(self, client, consumer):
        self.client, self.consumer = client, consumer

    def poll(self):
        polled = self.client.run(self.consumer.getmany(timeout_ms=100))
        return [record_of(message) for messages in polled.values() for message in messages]

    def assignment(self):
        return {place.partition for place in self.consumer.assignment()}

    def commit(self):
        try:
            self.client.run(self.consumer.commit())
        except Refused:
            pass  # A rebalance was faster: whoever owns the partition now reads these records again.

    def close(self):
        self.client.run(self.consumer.stop())
