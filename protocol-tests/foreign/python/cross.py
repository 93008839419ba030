"""What one client writes all others read: cross.py BOOTSTRAP COMMAND..., where COMMAND runs Java's part (Cross)."""

import subprocess
import sys
import time
import traceback
import uuid

from client import CODECS, Record
from scenarios import equal, topic_of
from suite import CLIENTS, sweep

COUNT = 100


def record(writer, codec, n):
    """The same as Cross.java makes."""
    headers = (("n", b"%d" % n), ("n", b"again")) + (() if writer == "kafka-python" else (("null", None),))
    key = None if n % 5 == 0 else b"key-%d" % n
    value = None if n % 5 == 1 else f"{n} {writer} {codec} ".encode() * n
    return Record(key, value, headers, 1_700_000_000_000 + n, 0)


def check(reader, writer, prefix):
    for codec in CODECS:
        got = reader.read(f"{prefix}-{writer}-{codec}", [0], COUNT)
        want = [record(writer, codec, n).sent() for n in range(COUNT)]
        equal([r.sent() for r in got], want, f"{writer} {codec}")


def play(reader, writer, prefix):
    began, remark = time.monotonic(), ""
    try:
        check(reader, writer, prefix)
    except Exception as error:
        traceback.print_exc()
        remark = f"; {error}"
    verdict = "FAIL" if remark else "ok  "
    print(f"{verdict} {reader.name} reads_what_{writer}_writes ({time.monotonic() - began:.1f} s){remark}", flush=True)
    return bool(remark)


def main(bootstrap, *java):
    clients = [make(bootstrap) for make in CLIENTS.values()]
    prefix = f"foreign-cross-{uuid.uuid4().hex[:8]}"
    writers = [client.name for client in clients] + ["java"]
    topics = [f"{prefix}-{writer}-{codec}" for writer in writers for codec in CODECS]
    for topic in topics:
        topic_of(clients[0], lambda: topic)
    for client in clients:
        for codec in CODECS:
            records = [record(client.name, codec, n) for n in range(COUNT)]
            client.produce(f"{prefix}-{client.name}-{codec}", records, codec)
    failed = subprocess.run([*java, prefix, ",".join(writers[:-1])]).returncode != 0
    for reader in clients:
        for writer in writers:
            failed |= play(reader, writer, prefix)
    sweep(clients[0], topics)
    for client in clients:
        client.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
