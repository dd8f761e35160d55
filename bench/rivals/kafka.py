"""A broker of Kafka for the job between two topics. What it costs is not counted: it is the same for all."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import engines
import results

BEGINS_WITHIN_S = 60


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Broker:
    """Started when it is made, and stopped by `stop`."""

    def __init__(self, out):
        self.home = engines.fetched("pypi.sh", "bytewax")
        sys.path.append(self.home)
        self.port, self.made, self.number = free_port(), {}, 0
        log = open(out / "kafka.log", "wb")
        script = engines.ROOT / "scripts/kafka.sh"
        environment = os.environ | {"KAFKA_CONTROLLER_PORT": str(free_port())}
        self.process = subprocess.Popen([script, str(self.port)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        until = time.monotonic() + BEGINS_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError(f"Kafka does not start; see {out / 'kafka.log'}") from None
                time.sleep(0.2)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def topics(self, home):
        """The topic with the rows of this folder, filled the first time, and a new one to write to."""
        if home not in self.made:
            self.made[home] = self.fill(Path(home) / "topic/all.jsonl", f"in-{len(self.made)}")
        self.number += 1
        out = f"out-{self.number}"
        self.create(out)
        return {"BROKERS": self.address, "TOPIC": self.made[home], "OUT_TOPIC": out}

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
        """What was written to a topic; of transactions what is committed."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "look", "enable.auto.commit": False,
                             "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "earliest"})
        consumer.assign([TopicPartition(topic, 0, 0)])
        try:
            while (message := consumer.poll(10)) is not None and not message.error():
                user, amount = re.search(rb'"user":"([^"]*)","amount":(\d+)', message.value().replace(b'": ', b'":').replace(b", ", b",")).groups()
                yield True, (user.decode(), results.plain(amount.decode()))
        finally:
            consumer.close()

    def stop(self):
        self.process.terminate()
        self.process.wait()
