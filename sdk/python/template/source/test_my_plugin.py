import socket
import threading
import unittest

from millstream import testing
from my_plugin import MyPlugin


class MyPluginTest(unittest.TestCase):
    def test_resumes_at_its_position(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        lines = [b"to\n", b"be\n", b"\xff\n", b"or\n"]

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as request:
                    connection.sendall(b"".join(lines[int(request.readline().removeprefix(b"FROM ")) :]))

        serving = threading.Thread(target=serve)
        serving.start()
        test = testing.source(MyPlugin, config={"address": f"127.0.0.1:{server.getsockname()[1]}"})
        first = test.open().poll(rows_max=2, wait_ms=10_000)
        self.assertEqual(first.rows, [{"number": 0, "text": "to"}, {"number": 1, "text": "be"}])
        rest = test.open(position=first.position).poll(wait_ms=10_000)
        self.assertEqual(rest.rows, [{"number": 3, "text": "or"}])
        self.assertEqual(rest.refused[0][0], b"\xff")
        serving.join()
        server.close()


if __name__ == "__main__":
    unittest.main()
