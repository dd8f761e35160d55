import socket
import threading
import unittest

from millstream import ConfigError, testing
from my_plugin import MyPlugin


class MyPluginTest(unittest.TestCase):
    def test_a_batch_and_its_id_are_stored_atomically(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        kept: list[tuple[int, list[str]]] = []

        owner = 0

        def serve(connection: socket.socket) -> None:
            nonlocal owner
            own, rows = 1 << 60, []
            with connection, connection.makefile("r") as lines:
                for line in lines:
                    word, *rest = line.split()
                    if word == "OPEN":
                        own = int(rest[1])
                        owner = max(owner, own)
                    elif word == "BEGIN":
                        rows = []
                        continue
                    elif word == "ROW":
                        rows.append(" ".join(rest))
                        continue
                    elif word == "COMMIT" and own == owner:
                        kept.append((int(rest[0]), rows))
                    last = kept[-1][0] if kept else 0
                    connection.sendall(b"LOST\n" if own < owner else b"LAST %d\n" % last)

        def accept() -> None:
            for _ in range(4):
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        test = testing.sink(MyPlugin, config={"address": f"127.0.0.1:{server.getsockname()[1]}"})
        first = test.open("job", 1)
        self.assertIsNone(first.last)
        refused = first.batch(3, [{"name": "a", "amount": 1.5}, {"name": "b c", "amount": 2.0}])
        self.assertEqual(refused, [(1, "a name is one word")])
        # The connection is lost in the middle of a batch.
        first.begun(4, [{"name": "d", "amount": 4.0}])
        self.assertEqual(test.committed("job"), 3)
        second = test.open("job", 2)
        self.assertEqual(second.last, 3)
        second.batch(4, [{"name": "e", "amount": 5.0}])
        with self.assertRaisesRegex(ConfigError, "a later start of the job"):
            test.open("job", 1)
        server.close()
        self.assertEqual(kept, [(3, ["a 1.5"]), (4, ["e 5"])])


if __name__ == "__main__":
    unittest.main()
