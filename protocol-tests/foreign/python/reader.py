"""A member of a group of the consumer protocol, as a process that can be killed: reader.py BOOTSTRAP GROUP TOPIC [INSTANCE].
It says and does what Reader.java does."""

import sys
import threading

from confluent_kafka import Consumer, KafkaException


def told(consumer, places):
    names = sorted(f"{place.topic}:{place.partition}" for place in places)
    print("has", ",".join(names), flush=True)


def assigned(consumer, added):
    consumer.incremental_assign(added)
    told(consumer, consumer.assignment())


def revoked(consumer, removed):
    consumer.incremental_unassign(removed)
    told(consumer, consumer.assignment())


def read(consumer):
    messages = [message for message in consumer.consume(100, timeout=0.1) if not message.error()]
    for message in messages:
        print("read", message.topic(), message.partition(), message.offset(), message.value().decode(), flush=True)
    if messages:
        try:
            consumer.commit(asynchronous=False)
        except KafkaException:
            pass  # A rebalance was faster: whoever owns the partition now reads these records again.


def main(bootstrap, group, topic, *instance):
    settings = {"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer", "auto.offset.reset": "earliest",
                "enable.auto.commit": False, "fetch.wait.max.ms": 100}
    if instance:
        settings["group.instance.id"] = instance[0]
    consumer, ended = Consumer(settings), threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)
    while not ended.is_set():
        read(consumer)
    consumer.close()
    print("left", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
