"""What one client writes all others read: cross.py BOOTSTRAP write PREFIX, and cross.py BOOTSTRAP read PREFIX WRITER,..."""

import sys
import time
import traceback

from client import CODECS, Record
from scenarios import equal, numbered, values
from suite import CLIENTS

COUNT = 100


def record(writer, codec, n):
    """The same as Cross.java makes."""
    headers = (("n", b"%d" % n), ("n", b"again")) + (() if writer == "kafka-python" else (("null", None),))
    key = None if n % 5 == 0 else b"key-%d" % n
    value = None if n % 5 == 1 else f"{n} {writer} {codec} ".encode() * n
    return Record(key, value, headers, 1_700_000_000_000 + n, 0)


def write(client, prefix):
    for codec in CODECS:
        client.produce(f"{prefix}-{client.name}-{codec}", [record(client.name, codec, n) for n in range(COUNT)], codec)
    transactions = [(numbered(10, first, 1), first != 10) for first in (0, 10, 20)]
    client.transact(f"{prefix}-{client.name}-transactions", transactions)


def read(reader, writer, prefix):
    for codec in CODECS:
        got = reader.read(f"{prefix}-{writer}-{codec}", [0], COUNT)
        want = [record(writer, codec, n).sent() for n in range(COUNT)]
        equal([r.sent() for r in got], want, f"{writer} {codec}")
    got = reader.read(f"{prefix}-{writer}-transactions", [0], 20, isolation="read_committed")
    equal(values(got), [*range(10), *range(20, 30)], f"{writer}: what was committed")
    # Ten records and a marker a transaction.
    equal(got[10].offset, 22, f"{writer}: the offset of the third transaction")


def play(client, name, scenario, *arguments):
    began, remark = time.monotonic(), ""
    try:
        scenario(client, *arguments)
    except Exception as error:
        traceback.print_exc()
        remark = f"; {type(error).__name__}: {error}"
    verdict = "FAIL" if remark else "ok  "
    print(f"{verdict} {client.name} {name} ({time.monotonic() - began:.1f} s){remark}", flush=True)
    return bool(remark)


def main(bootstrap, verb, prefix, writers=""):
    clients, failed = [make(bootstrap) for make in CLIENTS.values()], False
    for client in clients:
        if verb == "write":
            failed |= play(client, "writes_with_every_codec_and_in_transactions", write, prefix)
        else:
            for writer in writers.split(","):
                failed |= play(client, f"reads_what_{writer}_writes", read, writer, prefix)
        client.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
