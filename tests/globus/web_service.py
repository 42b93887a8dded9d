"""A stand-in for Globus Compute's web service on loopback, just large enough for the SDK's executor and an endpoint.

The service is closed software. What it does here: take functions and tasks over HTTP (where the SDK's environment
"local" looks for it), put each task into its endpoint's queue, and move results from the common queue to the
submitter's. The queues are a real RabbitMQ's.
"""

import json
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pika
from globus_compute_common import messagepack
from globus_compute_common.messagepack.message_types import Task

PORT = 5000
"""Of the SDK's environment "local"."""


def credentials(broker, endpoint):
    """Return what an endpoint gets when it registers: its queue of tasks, and where results and heartbeats go."""

    def outgoing(exchange):
        publish = {"exchange": exchange, "routing_key": f"{endpoint}.{exchange}", "mandatory": True}
        publish["properties"] = {"delivery_mode": 2}
        queue = {"connection_url": broker, "exchange": exchange, "queue": exchange}
        return queue | {"queue_publish_kwargs": publish}

    tasks = {"connection_url": broker, "exchange": "tasks", "queue": f"{endpoint}.tasks"}
    queues = {"task_queue_info": tasks}
    queues |= {"result_queue_info": outgoing("results"), "heartbeat_queue_info": outgoing("heartbeats")}
    return {"endpoint_id": endpoint, "amqp_creds": queues}


class WebService:
    """Functions, tasks, results."""

    def __init__(self, broker, endpoints):
        self.broker = broker
        self.functions = {}
        self.submitter = {}
        self.received = dict.fromkeys(endpoints, 0)
        self.lock = threading.Lock()
        self.connection = pika.BlockingConnection(pika.URLParameters(broker))
        self.channel = self.connection.channel()
        for exchange, kind in (("tasks", "direct"), ("results", "topic"), ("heartbeats", "topic")):
            self.channel.exchange_declare(exchange, exchange_type=kind, durable=True)
        for queue in ("results", "heartbeats"):
            self.channel.queue_declare(queue, durable=True)
            self.channel.queue_bind(queue, queue, f"*.{queue}")
        for endpoint in endpoints:
            self.channel.queue_declare(f"{endpoint}.tasks", durable=True)
            self.channel.queue_bind(f"{endpoint}.tasks", "tasks", f"{endpoint}.tasks")
        threading.Thread(target=self.forward_results, daemon=True).start()
        self.server = ThreadingHTTPServer(("127.0.0.1", PORT), type("Bound", (Handler,), {"service": self}))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def forward_results(self):
        connection = pika.BlockingConnection(pika.URLParameters(self.broker))
        channel = connection.channel()

        def forward(_channel, method, _properties, body):
            group = self.submitter.pop(str(messagepack.unpack(body).task_id), None)
            if group is not None:
                channel.basic_publish("", f"result.{group}", body, pika.BasicProperties(timestamp=int(time.time())))
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("results", forward)
        channel.start_consuming()

    def register(self, content):
        name = str(uuid.uuid4())
        self.functions[name] = content["function_code"]
        return {"function_uuid": name}

    def submit(self, endpoint, content):
        group = content.get("task_group_id") or str(uuid.uuid4())
        submitted = {}
        with self.lock:
            if content.get("create_queue"):
                self.channel.queue_declare(f"result.{group}", durable=True)
            for function, payloads in content["tasks"].items():
                for payload in payloads:
                    number = str(uuid.uuid4())
                    submitted.setdefault(function, []).append(number)
                    self.submitter[number] = group
                    self.received[endpoint] += 1
                    body = messagepack.pack(
                        Task(task_id=uuid.UUID(number), task_buffer=self.functions[function] + payload)
                    )
                    headers = {"function_uuid": function, "task_uuid": number, "resource_specification": "null"}
                    self.channel.basic_publish(
                        "tasks", f"{endpoint}.tasks", body, pika.BasicProperties(headers=headers)
                    )
        return {
            "request_id": str(uuid.uuid4()),
            "task_group_id": group,
            "endpoint_id": endpoint,
            "tasks": submitted,
        }

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """The few requests that the SDK makes."""

    protocol_version = "HTTP/1.1"
    service: WebService

    def log_message(self, *_):
        pass

    def answer(self, content, code=200):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/v2/version"):
            self.answer({"api": "1", "min_ep_version": "0.0.0", "min_sdk_version": "0.0.0"})
        elif self.path.startswith("/v2/get_amqp_result_connection_url"):
            self.answer({"queue_prefix": "result.", "connection_url": self.service.broker})
        else:
            self.answer({"code": "UNKNOWN", "message": self.path}, 404)

    def do_POST(self):
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        endpoint = re.fullmatch("/v3/endpoints/([-0-9a-f]+)/submit", self.path)
        if self.path == "/v3/functions":
            self.answer(self.service.register(content))
        elif endpoint:
            self.answer(self.service.submit(endpoint[1], content))
        else:
            self.answer({"code": "UNKNOWN", "message": self.path}, 404)
