"""Sends requests to a RabbitMQ server. Usage: rabbitmq.py PORT USER PASSWORD REQUEST, where REQUEST is JSON. Prints the response as JSON.
If REQUEST is -, each line of standard input is a request, and gets a line with its response.

    {"do": "declare", "queue": Q, "arguments": {}}
    {"do": "exchange", "exchange": E, "queue": Q, "key": K}             creates an exchange, bound to a queue
    {"do": "publish", "exchange": E, "key": K, "bodies": [], "headers": {}, "id": I}
                                                                        with "latin1": true the ID is not UTF-8
    {"do": "count" | "purge" | "delete", "queue": Q}
    {"do": "take", "queue": Q}                                          all messages: body, key and id
    {"do": "peek", "queue": Q}                                          the bodies of all messages, which stay in the queue
"""

import json
import sys

import pika

port, user, password, request = sys.argv[1:]


def do(request):
    # A server without disk space or memory accepts nothing: an error is better than a wait without end.
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(
            "127.0.0.1",
            int(port),
            credentials=pika.PlainCredentials(user, password),
            blocked_connection_timeout=60,
            heartbeat=30,
        )
    )
    channel = connection.channel()
    queue = request.get("queue")
    response = None
    match request["do"]:
        case "declare":
            channel.queue_declare(queue, durable=True, arguments=request.get("arguments"))
        case "exchange":
            channel.exchange_declare(request["exchange"], "direct", durable=True)
            channel.queue_bind(queue, request["exchange"], request["key"])
        case "publish":
            channel.confirm_delivery()
            message_id = request.get("id")
            if request.get("latin1"):
                message_id = message_id.encode("latin-1")
            properties = pika.BasicProperties(
                delivery_mode=2, headers=request.get("headers"), message_id=message_id, timestamp=request.get("timestamp")
            )
            for body in request["bodies"]:
                channel.basic_publish(request.get("exchange", ""), request["key"], body.encode(), properties, mandatory=True)
        case "count":
            response = channel.queue_declare(queue, passive=True).method.message_count
        case "purge":
            channel.queue_purge(queue)
        case "delete":
            channel.queue_delete(queue)
        case "take":
            response = []
            while True:
                method, properties, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    break
                response.append([body.decode(), method.routing_key, properties.message_id])
        case "peek":
            # Messages that are not acknowledged return to their positions in the queue when the connection ends. More may arrive meanwhile.
            response = []
            for _ in range(channel.queue_declare(queue, passive=True).method.message_count):
                method, _, body = channel.basic_get(queue)
                if method is None:
                    break
                response.append(body.decode())
    connection.close()
    return response


if request == "-":
    for line in sys.stdin:
        print(json.dumps(do(json.loads(line))), flush=True)
else:
    print(json.dumps(do(json.loads(request))))
