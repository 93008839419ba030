"""What a scenario may ask of a client, whoever wrote it: the nouns here, one file a client beside."""

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

EARLIEST, LATEST, MAX_TIMESTAMP = "earliest", "latest", "max timestamp"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

# Kafka's own numbers (org.apache.kafka.common.protocol.Errors).
NAMES = {
    1: "OFFSET_OUT_OF_RANGE",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    10: "MESSAGE_TOO_LARGE",
    17: "INVALID_TOPIC_EXCEPTION",
    36: "TOPIC_ALREADY_EXISTS",
    37: "INVALID_PARTITIONS",
    40: "INVALID_CONFIG",
    68: "NON_EMPTY_GROUP",
    69: "GROUP_ID_NOT_FOUND",
}


class Refused(Exception):
    """The broker said no; `name` is Kafka's name for why."""

    def __init__(self, code, detail=""):
        self.name = NAMES.get(code, str(code))
        super().__init__(f"{self.name} {detail}".strip())


@dataclass(frozen=True)
class Record:
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple = ()
    timestamp: int | None = None
    partition: int | None = None
    offset: int | None = None

    def sent(self):
        """What the sender chose: all but the place that the broker gave it."""
        return (self.key, self.value, self.headers, self.timestamp)


@dataclass(frozen=True)
class Group:
    state: str
    protocol: str
    members: int
    assigned: frozenset  # partitions, of all members


class Late(AssertionError):
    """What was waited for has not come."""


def wait_until(condition, what, seconds=60):
    """Asks again and again until the answer is true; the deadline is generous, since a busy machine is no fault."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise Late(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.02)
    return answer


class Client(ABC):
    """One client library, joined to one cluster."""

    name: str
    assignors = ("range",)
    sends_null_headers = True
    may_stall = False
    lists_max_timestamp = True
    alters_groups = True

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap

    @abstractmethod
    def create_topic(self, topic, partitions, configs=None): ...

    @abstractmethod
    def delete_topic(self, topic): ...

    @abstractmethod
    def grow_topic(self, topic, partitions): ...

    @abstractmethod
    def partitions(self, topic):
        """How many, or Refused."""

    @abstractmethod
    def produce(self, topic, records, codec="none", idempotent=True):
        """Sends all, waits for all; the (partition, offset) of each, or Refused."""

    @abstractmethod
    def transact(self, topic, transactions):
        """Writes one transaction after another, each of them (records, whether it is committed)."""

    @abstractmethod
    def read(self, topic, partitions, count, start=EARLIEST, reset=EARLIEST, isolation="read_uncommitted"):
        """Reads `count` records from `start`: EARLIEST, ("offset", n) or ("time", ms), without a group."""

    @abstractmethod
    def list_offsets(self, topic, partitions, spec):
        """{partition: offset, or None} by EARLIEST, LATEST, MAX_TIMESTAMP or ("time", ms)."""

    @abstractmethod
    def topic_configs(self, topic): ...

    @abstractmethod
    def broker_configs(self):
        """Of any one broker."""

    @abstractmethod
    def groups(self):
        """The ids of all groups."""

    @abstractmethod
    def describe_group(self, group): ...

    @abstractmethod
    def committed(self, group):
        """{(topic, partition): offset}"""

    def delete_group(self, group):
        raise NotImplementedError

    def alter_committed(self, group, offsets):
        raise NotImplementedError

    @abstractmethod
    def open_consumer(self, group, topic, assignor):
        """Something with poll() -> [Record], assignment() -> {partition}, commit() and close()."""

    def join(self, group, topic, assignor="range"):
        return Member(lambda: self.open_consumer(group, topic, assignor))

    def close(self):
        """Nothing, for most."""


class Member:
    """A member of a group in its own thread: polls, remembers what it read, and commits after each poll."""

    def __init__(self, open_consumer):
        self.records, self.assignment, self.failed = [], frozenset(), None
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._live, args=(open_consumer,), daemon=True)
        self._thread.start()

    def _live(self, open_consumer):
        try:
            consumer = open_consumer()
            while not self._leave.is_set():
                records = consumer.poll()
                self.records.extend(records)
                if records:
                    consumer.commit()
                self.assignment = frozenset(consumer.assignment())
            consumer.close()
        except Exception as error:
            self.failed = error
        self.assignment = frozenset()

    def leave(self):
        self._leave.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the member does not leave"
        if self.failed:
            raise self.failed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._leave.set()
        self._thread.join(30)
