"""Runs every scenario with the named clients: suite.py BOOTSTRAP CLIENT... One line a scenario; the exit code tells."""

import logging
import sys
import time
import traceback
import uuid

from client import Late, Refused
from scenarios import SCENARIOS, NotInThisClient
from with_aiokafka import Aiokafka
from with_kafka_python import KafkaPython
from with_librdkafka import Librdkafka

CLIENTS = {client.name: client for client in (Librdkafka, KafkaPython, Aiokafka)}


class Fresh:
    """Names nobody else uses, and the topics to delete in the end."""

    def __init__(self, client):
        self.prefix, self.given = f"foreign-{client}-{uuid.uuid4().hex[:8]}", []

    def __call__(self):
        self.given.append(f"{self.prefix}-{len(self.given)}")
        return self.given[-1]


def play(client, scenario, fresh, may_stall):
    try:
        scenario(client, fresh)
        return "ok  ", ""
    except Late as late:
        traceback.print_exc()
        if not may_stall:
            return "FAIL", f"; {late}"
        verdict, remark = play(client, scenario, fresh, may_stall=False)
        return verdict, f"{remark}; at the second try, after it stalled: {late}"
    except NotInThisClient as missing:
        return "ok  ", f"; not in this client: {missing}"
    except Exception as error:
        traceback.print_exc()
        return "FAIL", f"; {type(error).__name__}: {error}"


def sweep(client, names):
    for name in names:
        try:
            client.delete_topic(name)
        except Refused:
            pass  # Deleted already, never made, or the name of a group.


def run(name, bootstrap):
    client, fresh, failures = CLIENTS[name](bootstrap), Fresh(name), 0
    for scenario in SCENARIOS:
        began = time.monotonic()
        verdict, remark = play(client, scenario, fresh, client.may_stall)
        print(f"{verdict} {name} {scenario.__name__} ({time.monotonic() - began:.1f} s){remark}", flush=True)
        failures += verdict == "FAIL"
    sweep(client, fresh.given)
    client.close()
    return failures


def main(bootstrap, *names):
    logging.basicConfig(level=logging.CRITICAL)
    failures = sum(run(name, bootstrap) for name in names or CLIENTS)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
