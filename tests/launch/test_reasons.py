"""Why a run failed, from what was told. The texts are those of gloo, torch's rendezvous, NCCL, HCCL and pdsh."""

from __future__ import annotations

import pytest

from llmctl.launch.failures import Failure, reason_of
from llmctl.run.attempts import Reason

GLOO = (
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:88] Timed out waiting 1800000ms for "
    "recv operation to complete"
)
GLOO_CLOSED = (
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:4711"
)
NCCL = (
    "[rank3]:[E1121 12:00:00.1 ProcessGroupNCCL.cpp:632] [Rank 3] Watchdog caught collective operation timeout: "
    "WorkNCCL(SeqNum=812, OpType=ALLREDUCE, NumelIn=1, NumelOut=1, Timeout(ms)=600000) ran for 600032 milliseconds "
    "before timing out."
)
HCCL_SOCKET = "EI0006: 2026-11-21-12:00:00 Getting socket times out. Reason: Remote Rank did not send the data in time."
HCCL_NOTIFY = "EI0002: The wait execution of the Notify register times out."
STORE = "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined."
RENDEZVOUS = "torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError"
PDSH = "pdsh@node1: node2: ssh exited with exit code 255\n"


def failed(message: str, exit_code: int | None = 1, *tail: str) -> Failure:
    return Failure(node="node2", rank=1, exit_code=exit_code, message=message, tail=tail)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (failed("ended by signal 9", 137), Reason.RANK_KILLED),
        (failed("ended by signal 11", 139), Reason.RANK_KILLED),
        (failed("ended with exit code 137", 137), Reason.RANK_KILLED),
        (failed("ended by signal 15", 143), Reason.JOB_ERROR),
        (failed("stopped by a signal, checkpoint-5 is written", 143), Reason.JOB_ERROR),
        (failed("ended by signal 6", 134), Reason.RANK_KILLED),
        (failed("ended by signal 6", 134, "step 7/9", NCCL), Reason.COLLECTIVE_TIMEOUT),
        (failed(GLOO), Reason.COLLECTIVE_TIMEOUT),
        (failed(GLOO_CLOSED), Reason.COLLECTIVE_TIMEOUT),
        (failed(NCCL), Reason.COLLECTIVE_TIMEOUT),
        (failed(HCCL_SOCKET), Reason.COLLECTIVE_TIMEOUT),
        (failed(HCCL_NOTIFY), Reason.COLLECTIVE_TIMEOUT),
        (failed(STORE), Reason.COLLECTIVE_TIMEOUT),
        (failed(RENDEZVOUS), Reason.COLLECTIVE_TIMEOUT),
        (failed("ValueError: no such row"), Reason.JOB_ERROR),
        (failed("torch.OutOfMemoryError: NPU out of memory"), Reason.JOB_ERROR),
        (failed("requests.exceptions.ReadTimeout: HTTPSConnectionPool: Read timed out."), Reason.JOB_ERROR),
        (failed("ValueError: no such row", 1, GLOO), Reason.JOB_ERROR),
        (None, Reason.JOB_ERROR),
    ],
)
def test_the_reason_of_a_failure(failure: Failure | None, reason: Reason) -> None:
    assert reason_of(failure, {}) is reason


def test_a_connection_of_pdsh_that_broke_is_no_failure_of_the_job() -> None:
    ended = failed("ended with exit code 255", 255)
    assert reason_of(ended, {"logs/node1/launcher.log": PDSH}) is Reason.SSH
    assert reason_of(ended, {"logs/node1/rank0.log": PDSH}) is Reason.JOB_ERROR
    assert reason_of(ended, {"logs/node1/launcher.log": PDSH.replace("255", "1")}) is Reason.JOB_ERROR


def test_a_lost_node_comes_before_what_the_others_say() -> None:
    assert reason_of(failed(GLOO), {}, lost=["node2"]) is Reason.NODE_LOST
    assert reason_of(None, {}, lost=["node2"], refused=["node2"]) is Reason.SSH
    assert reason_of(None, {}, lost=["node1", "node2"], refused=["node2"]) is Reason.NODE_LOST
