"""A Kafka broker for the job between two topics. Its cost is not counted, because it is the same for all engines."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import engines
import results

START_TIMEOUT_S = 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Broker:
    """A broker that runs from its creation until `stop`."""

    def __init__(self, out):
        self.home = engines.fetch("pypi.sh", "bytewax")
        sys.path.append(self.home)
        self.port, self.filled, self.number = free_port(), {}, 0
        log = open(out / "kafka.log", "wb")
        script = engines.ROOT / "scripts/kafka.sh"
        environment = os.environ | {"KAFKA_CONTROLLER_PORT": str(free_port())}
        self.process = subprocess.Popen([script, str(self.port)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"Kafka does not start; see {out / 'kafka.log'}") from None
                time.sleep(0.2)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def topics(self, home):
        """An input topic with the rows of this directory, filled on first use, and a new output topic."""
        if home not in self.filled:
            self.filled[home] = self.fill(Path(home) / "topic/all.jsonl", f"in-{len(self.filled)}")
        self.number += 1
        out = f"out-{self.number}"
        self.create(out)
        return {"BROKERS": self.address, "TOPIC": self.filled[home], "OUT_TOPIC": out}

    def create(self, topic):
        from confluent_kafka.admin import AdminClient, NewTopic

        client = AdminClient({"bootstrap.servers": self.address})
        for future in client.create_topics([NewTopic(topic, 1, 1)]).values():
            future.result()

    def fill(self, file, topic):
        from confluent_kafka import Producer

        self.create(topic)
        producer = Producer({"bootstrap.servers": self.address, "queue.buffering.max.messages": 200_000, "linger.ms": 20})
        with open(file, "rb") as lines:
            for line in lines:
                while True:
                    try:
                        producer.produce(topic, line.rstrip())
                        break
                    except BufferError:
                        producer.poll(0.1)
        producer.flush()
        return topic

    def rows(self, topic):
        """The committed rows of a topic."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "look", "enable.auto.commit": False,
                             "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition(topic, 0, 0)])
        try:
            while (message := consumer.poll(10)) is not None and not message.error():
                user, amount = re.search(rb'"user":"([^"]*)","amount":(\d+)', message.value().replace(b'": ', b'":').replace(b", ", b",")).groups()
                yield True, (user.decode(), results.normalize(amount.decode()))
        finally:
            consumer.close()

    def stop(self):
        self.process.terminate()
        self.process.wait()
