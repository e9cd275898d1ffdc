"""A slow and lossy link between two interfaces, in user space: kernels without netem have nothing else.

slowlink.py plain INTERFACE                          whole frames only: no segmentation left to the device
slowlink.py bridge ONE OTHER DELAY_MS LOSS           prints `bridged`, then carries frames until it is killed
"""

import array
import fcntl
import heapq
import random
import select
import socket
import struct
import sys
import time

ETHTOOL = 0x8946
SWITCHES = (0x17, 0x1F, 0x24, 0x19)
"""Set checksum offload, TSO, GSO, scatter-gather."""
OUTGOING = 4
ALL_PROTOCOLS = 3


def plain(interface: str) -> None:
    """Switch the interface's offloads off."""
    with socket.socket() as handle:
        for switch in SWITCHES:
            value = array.array("B", struct.pack("II", switch, 0))
            address = value.buffer_info()[0]
            try:
                fcntl.ioctl(handle, ETHTOOL, struct.pack("16sP16x", interface.encode(), address))
            except OSError as error:  # some go off with another
                print(f"{interface}: {switch:#x}: {error}", file=sys.stderr)


def opened(interface: str) -> socket.socket:
    """A socket for all frames of an interface."""
    handle = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_PROTOCOLS))
    handle.bind((interface, ALL_PROTOCOLS))
    handle.setblocking(False)
    return handle


def bridge(one: str, other: str, delay: float, loss: float) -> None:
    """Carry frames both ways, `delay` seconds late; each is lost with probability `loss`."""
    ends = (opened(one), opened(other))
    across = {ends[0]: ends[1], ends[1]: ends[0]}
    waiting: list[tuple[float, int, socket.socket, bytes]] = []
    count = 0
    print("bridged", flush=True)
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
        for end in select.select(ends, [], [], patience)[0]:
            while True:
                try:
                    frame, address = end.recvfrom(70000)
                except BlockingIOError:
                    break
                if address[2] != OUTGOING and random.random() >= loss:
                    count += 1
                    heapq.heappush(waiting, (time.monotonic() + delay, count, across[end], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(waiting)
            try:
                end.send(frame)
            except OSError as error:  # the cable is being pulled, or a queue is full: the frame is lost
                print(error, file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1] == "plain":
        plain(sys.argv[2])
    else:
        bridge(sys.argv[2], sys.argv[3], float(sys.argv[4]) / 1000, float(sys.argv[5]))
