"""Starts a batch on a haul server and watches it to its end."""

import argparse
import pathlib
import random
import sys
import time
import uuid

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

CLIENTS = pathlib.Path(__file__).resolve().parent.parent
# The contract is compiled as the program starts; a project of yours would generate code once (see README.md).
sys.path.append(str(CLIENTS.parent.parent / "proto"))
messages, services = grpc.protos_and_services("haul/v1/service.proto")
spec_messages = grpc.protos("haul/v1/spec.proto")
watch_messages = grpc.protos("haul/v1/watch.proto")


def reason_of(error):
    """The stable reason of an error, such as BATCH_EXISTS. Decide by it, never by the text."""
    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status else []:
        if detail.Unpack(info) and info.domain == "haul.v1":
            return info.reason
    return None


def watch(haul, name):
    """Yields the batch as it goes on. The last one is how it ended; a stream that breaks is opened again."""
    revision = 0
    while True:
        known = [watch_messages.KnownRevision(name=name, revision=revision)]
        request = watch_messages.WatchProgressRequest(name=name, known_revisions=known)
        try:
            for event in haul.WatchProgress(request):
                kind = event.WhichOneof("event")
                if kind in ("snapshot", "update", "terminal"):
                    batch = getattr(event, kind)
                    revision = batch.revision
                    yield batch
                if kind == "terminal":
                    return
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
        time.sleep(random.uniform(0.2, 10))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("keys", nargs="+", metavar="CODE", help="what to fetch, such as 7203")
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--id", default="", help="id of the batch; by default the server makes one")
    parser.add_argument("--base-url", default="", help="of a simulator, in place of the provider")
    asked = parser.parse_args()

    spec = spec_messages.BatchSpec(
        inline_items={"items": [{"key": key} for key in asked.keys]},
        yahoo_chart={"range": "1mo", "base_url": asked.base_url},
        as_of={"time_zone": "Asia/Tokyo"},
    )
    # With a request id a start may be repeated, as the service config says, and still makes one batch.
    request = messages.StartBatchRequest(batch_id=asked.id, spec=spec, request_id=str(uuid.uuid4()))
    options = [("grpc.service_config", (CLIENTS / "service-config.json").read_text())]
    with grpc.insecure_channel(asked.server, options) as channel:
        haul = services.HaulServiceStub(channel)
        try:
            name = haul.StartBatch(request, timeout=30).batch.name
            for batch in watch(haul, name):
                print(f"{name} {batch.progress.percentage:.0f} %", flush=True)
        except grpc.RpcError as error:
            if reason_of(error) == "BATCH_EXISTS":
                sys.exit(f"there is a batch {asked.id} already: choose another --id")
            sys.exit(f"{reason_of(error) or error.code().name}: {error.details()}")
    progress = batch.progress
    print(f"{batch.end_reason}: {progress.succeeded_items} succeeded, {progress.failed_items} failed")


if __name__ == "__main__":
    main()
