"""Sends logs, metrics and traces with OpenTelemetry exporters, for tests/tests/connectors/otlp.rs. Arguments: endpoint and compression."""

import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

where, how = sys.argv[1:3]
settings = {"compression": Compression(how), "headers": {"authorization": "Bearer secret"}}
resource = Resource.create({"service.name": "shop", "host.cores": 4})

logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(where + "/v1/logs", **settings)))
logger = logs.get_logger("checkout", "1.2")
bodies = ["plain", {"user": "å", "n": [1, 2.5, None]}, 7, None]
for number, body in enumerate(bodies):
    logger.emit(
        LogRecord(
            timestamp=1_700_000_000_123_456_789 + number,
            observed_timestamp=1_700_000_001_000_000_000,
            severity_number=SeverityNumber.WARN2,
            severity_text="warning" if number == 0 else None,
            body=body,
            attributes={"http.route": "/cart", "retries": number, "ok": True, "list": ["a", "b"]},
            event_name="cart.failed" if number == 1 else None,
        )
    )
logs.shutdown()

tracers = TracerProvider(resource=resource)
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(where + "/v1/traces", **settings)))
tracer = tracers.get_tracer("checkout")
with tracer.start_as_current_span("order", kind=SpanKind.SERVER) as parent:
    link = Link(parent.get_span_context(), {"why": "retry"})
    with tracer.start_as_current_span("pay", kind=SpanKind.CLIENT, links=[link]) as span:
        span.add_event("declined", {"code": 51})
        span.set_status(Status(StatusCode.ERROR, "declined"))
tracers.shutdown()

exponential = View(instrument_name="size", aggregation=ExponentialBucketHistogramAggregation())
reader = PeriodicExportingMetricReader(OTLPMetricExporter(where + "/v1/metrics", **settings), export_interval_millis=3_600_000)
meters = MeterProvider(resource=resource, metric_readers=[reader], views=[exponential])
meter = meters.get_meter("checkout")
meter.create_counter("orders", "1", "how many").add((1 << 53) + 1, {"sku": "a"})
meter.create_up_down_counter("open").add(-3)
meter.create_gauge("load").set(0.25)
for value in [3, 30]:
    meter.create_histogram("latency", "ms").record(value)
    meter.create_histogram("size").record(value)
meters.shutdown()
