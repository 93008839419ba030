"""Groups of the consumer protocol (KIP-848) with members of two clients in one group: groups.py BOOTSTRAP COMMAND..., where
COMMAND runs Java's part (Reader). Needs a broker that has such groups."""

import pathlib
import subprocess
import sys
import threading
import time
import traceback
import uuid

from client import wait_until
from scenarios import equal, numbered, topic_of
from suite import sweep
from with_librdkafka import Librdkafka

PARTITIONS = 6


class Reader:
    """A member in a process of its own."""

    def __init__(self, command, *arguments):
        self.name, self.has, self.read, self.gone = command[-1], frozenset(), [], False
        self.process = subprocess.Popen([*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            verb, *rest = line.split()
            if verb == "has":
                self.has = frozenset(rest[0].split(",")) if rest else frozenset()
            elif verb == "read":
                self.read.append((rest[0], int(rest[1]), int(rest[2]), int(rest[3])))
        self.has, self.gone = frozenset(), True

    def leave(self):
        self.process.stdin.close()
        self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def __str__(self):
        return f"{pathlib.Path(self.name).name}: {sorted(self.has)}, {len(self.read)} read{', gone' if self.gone else ''}"


class House:
    def __init__(self, bootstrap, java):
        self.bootstrap, self.client, self.given = bootstrap, Librdkafka(bootstrap), []
        self.java, self.python = [*java, "Reader"], [sys.executable, str(pathlib.Path(__file__).with_name("reader.py"))]
        self.prefix = f"foreign-groups-{uuid.uuid4().hex[:8]}"

    def fresh(self):
        self.given.append(f"{self.prefix}-{len(self.given)}")
        return self.given[-1]

    def topic(self, partitions=PARTITIONS):
        return topic_of(self.client, self.fresh, partitions)

    def join(self, command, group, topic, *instance):
        return Reader(command, self.bootstrap, group, topic, *instance)

    def produce(self, topic, first, count):
        self.client.produce(topic, numbered(count, first, PARTITIONS))


def all_of(topic, partitions=PARTITIONS):
    return frozenset(f"{topic}:{partition}" for partition in range(partitions))


def values(*readers):
    return {row[3] for reader in readers for row in reader.read}


def shared(first, second, whole):
    return first.has | second.has == whole and not first.has & second.has and abs(len(first.has) - len(second.has)) <= 1


def a_member_that_is_killed_is_replaced(house, first_command, second_command):
    topic, group = house.topic(), house.fresh()
    house.produce(topic, 0, 300)
    with house.join(first_command, group, topic) as first:
        wait_until(lambda: first.has == all_of(topic), lambda: first)
        with house.join(second_command, group, topic) as second:
            wait_until(lambda: shared(first, second, all_of(topic)), lambda: f"{first}; {second}")
            house.produce(topic, 300, 300)
            wait_until(lambda: values(first, second) == set(range(600)), lambda: f"{first}; {second}")
            want = {(topic, partition): 100 for partition in range(PARTITIONS)}
            wait_until(lambda: house.client.committed(group) == want, lambda: house.client.committed(group))
            first.kill()
            second.read.clear()
            house.produce(topic, 600, 300)
            wait_until(lambda: second.has == all_of(topic), lambda: second, 120)
            wait_until(lambda: values(second) == set(range(600, 900)), lambda: second)
            equal(len(second.read), 300, "records that were read, none of them twice")
            second.leave()


def members_come_and_go(house, first_command, second_command):
    topic, group = house.topic(), house.fresh()
    with house.join(first_command, group, topic) as first:
        wait_until(lambda: first.has == all_of(topic), lambda: first)
        for _ in range(2):
            with house.join(second_command, group, topic) as second:
                wait_until(lambda: shared(first, second, all_of(topic)), lambda: f"{first}; {second}")
                second.leave()
            wait_until(lambda: first.has == all_of(topic), lambda: first)
        house.client.grow_topic(topic, PARTITIONS + 2)
        wait_until(lambda: first.has == all_of(topic, PARTITIONS + 2), lambda: first)
        first.leave()


def a_static_member_keeps_its_place(house, first_command, second_command):
    topic, group = house.topic(), house.fresh()
    with house.join(first_command, group, topic, "seat-1") as first, house.join(second_command, group, topic, "seat-2") as second:
        wait_until(lambda: shared(first, second, all_of(topic)), lambda: f"{first}; {second}")
        had, stays = first.has, second.has
        first.leave()
        with house.join(first_command, group, topic, "seat-1") as again:
            wait_until(lambda: again.has == had, lambda: f"{again}; {second}")
            equal(second.has, stays, "the other's partitions")


def a_pattern_is_matched_by_the_broker(house, first_command, second_command):
    group, stem = house.fresh(), house.fresh()
    names = [f"{stem}-{letter}" for letter in "ab"]
    house.given.extend(names)
    topic_of(house.client, lambda: names[0], PARTITIONS)
    pattern = f"^{stem}-[ab]"
    with house.join(first_command, group, pattern) as first, house.join(second_command, group, pattern) as second:
        wait_until(lambda: shared(first, second, all_of(names[0])), lambda: f"{first}; {second}")
        topic_of(house.client, lambda: names[1], PARTITIONS)
        wait_until(lambda: shared(first, second, all_of(names[0]) | all_of(names[1])), lambda: f"{first}; {second}", 120)


def main(bootstrap, *java):
    house, failed = House(bootstrap, java), False
    python, java = house.python, house.java
    plays = [
        (a_member_that_is_killed_is_replaced, "librdkafka", "java", python, java),
        (a_member_that_is_killed_is_replaced, "java", "librdkafka", java, python),
        (members_come_and_go, "librdkafka", "librdkafka", python, python),
        (members_come_and_go, "java", "librdkafka", java, python),
        (a_static_member_keeps_its_place, "librdkafka", "java", python, java),
        (a_static_member_keeps_its_place, "java", "librdkafka", java, python),
        (a_pattern_is_matched_by_the_broker, "librdkafka", "java", python, java),
    ]
    for scenario, first, second, *commands in plays:
        began, remark = time.monotonic(), ""
        try:
            scenario(house, *commands)
        except Exception as error:
            traceback.print_exc()
            remark = f"; {type(error).__name__}: {error}"
        verdict = "FAIL" if remark else "ok  "
        print(f"{verdict} groups {scenario.__name__}:{first}+{second} ({time.monotonic() - began:.1f} s){remark}", flush=True)
        failed |= bool(remark)
    sweep(house.client, house.given)
    house.client.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
