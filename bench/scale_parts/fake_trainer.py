"""Serves a trainer's metrics for all of KWOK's pods: python -m scale_parts.fake_trainer

The progress is always the same, so that the operator writes it once for each job.
"""

import asyncio

from embedtune_api.contract import METRICS_PORT, Metric
from scale_parts.fleet import POD_IP

VALUES = {
    Metric.EPOCH: 1,
    Metric.STEP: 50,
    Metric.STEPS: 100,
    Metric.LOSS: 0.25,
    Metric.SAMPLES_PER_SECOND: 1800,
    Metric.ETA_SECONDS: 30,
    Metric.DATA_WAIT_RATIO: 0,
}


def page() -> str:
    """The metrics in Prometheus' text."""
    lines = [f'{Metric.PHASE}{{phase="Training"}} 1']
    return "\n".join([*lines, *(f"{name} {value}" for name, value in VALUES.items()), ""])


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = page().encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
    await writer.drain()
    writer.close()


async def main() -> None:
    """Serve until ended."""
    server = await asyncio.start_server(_answer, POD_IP, METRICS_PORT, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
