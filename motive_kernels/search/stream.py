"""A store in host memory, or mapped from a disk, scanned by GPUs: blocks are copied while others are scanned."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from motive_kernels.runtime.checks import fail
from motive_kernels.runtime.dispatch import Op
from motive_kernels.search import passes
from motive_kernels.search.base import Found, Pass, Queries, Rows, Wanted
from motive_kernels.search.bracket import join, one_part, roomy

BLOCK_BYTES = 1 << 28


def device_names(where: str, devices: Sequence[str | torch.device], store: Tensor) -> str:
    """Devices that scan a store on the host, as one text; empty for none.

    Raises:
        ValueError: the store is not on the host, or the devices are not of one type, or not of this machine.
    """
    try:
        found = [torch.device(device) for device in ((devices,) if isinstance(devices, str) else devices)]
    except RuntimeError as error:
        raise fail(where, "devices", "devices of torch", repr(devices), "name them like cuda:0") from error
    if not found:
        return ""
    if store.device.type != "cpu":
        raise fail(where, "devices", f"left out for a store on {store.device}", repr(devices), "leave them out")
    if len({device.type for device in found}) > 1:
        raise fail(where, "devices", "all of one type", repr(devices), "choose one type")
    count = torch.cuda.device_count()
    for device in found:
        if device.type == "cuda" and (device.index or 0) >= count:
            raise fail(where, "devices", f"among the {count} GPUs of this machine", str(device), "name another")
    return ",".join(map(str, found))


def streaming_pass(op: Op, impl: str | None, names: str, dtype: torch.dtype) -> Pass:
    """The pass of an op that streams a store on the host through devices.

    Args:
        op: a search op, for its choice of implementation.
        impl: as given by the user.
        names: what device_names gave.
        dtype: of the store.

    Raises:
        RuntimeError: the implementation cannot run on these devices.
    """
    devices = [torch.device(name) for name in names.split(",")]
    picked = op.pick(impl, devices[0].type, dtype)
    if picked not in passes.BY_NAME:
        raise RuntimeError(
            f"{op.name}: {picked} does not stream a store through devices; "
            f"use {' or '.join(passes.BY_NAME)}, or leave devices out"
        )
    return streamed(passes.BY_NAME[picked], devices, BLOCK_BYTES)


def streamed(run: Pass, devices: Sequence[torch.device], block_bytes: int = BLOCK_BYTES) -> Pass:
    """A pass over rows on the host that runs on devices, block by block, one thread a device.

    Each device has two pinned buffers and a stream for copies, so that one block is copied while the other is scanned.
    The result is that of one pass over all rows. Memory for lists: on a device a block's share of the room that is
    wanted, on the host what is listed.

    Args:
        run: the pass of one block on a device.
        devices: GPUs; blocks go to them in turn.
        block_bytes: size of a block.
    """

    def scan(queries: Queries, rows: Rows, wanted: Wanted) -> Found:
        size = max(1, block_bytes // max(1, rows.values.shape[1] * rows.values.element_size()))
        starts = list(range(0, len(rows), size)) or [0]
        there = [queries.to(device) for device in devices]

        def work(turn: int) -> list[Found]:
            device = devices[turn]
            mine = [rows.part(start, min(start + size, len(rows))) for start in starts[turn :: len(devices)]]
            with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
                return [_block(run, there[turn], part, wanted, len(rows)) for part in _moved(mine, device)]

        with ThreadPoolExecutor(len(devices)) as pool:
            done = list(pool.map(work, range(len(devices))))
        found = [done[number % len(devices)][number // len(devices)] for number in range(len(starts))]
        broken = len(rows)
        for start, one in zip(reversed(starts), reversed(found), strict=True):
            here = min(size, len(rows) - start)
            broken = start + one.first_broken if one.first_broken < here else broken
            one.rows.add_(start)
        return join(found, broken)

    return scan


def _block(run: Pass, queries: Queries, part: Rows, wanted: Wanted, total: int) -> Found:
    """A pass over one of the blocks of a store of ``total`` rows, with room for the block's share of the lists.

    A list that is longer here, where it might still fit in whole, is made again with room for all of it.
    """
    most = min(wanted.capacity, len(part))
    room = min(most, roomy(wanted.capacity * len(part) / max(1, total), len(part)))
    found = one_part(run, queries, part, replace(wanted, capacity=room))
    longest = int(torch.where(found.listed <= most, found.listed, 0).max())
    return found if longest <= room else one_part(run, queries, part, replace(wanted, capacity=longest))


def _moved(parts: Sequence[Rows], device: torch.device):
    """Yield the parts on the device, the copy of the next already under way."""
    if device.type != "cuda":
        yield from (_to(part, device) for part in parts)
        return
    copies = torch.cuda.Stream(device)
    buffers: list[Tensor | None] = [None, None]
    events = [torch.cuda.Event(), torch.cuda.Event()]

    def start(number: int) -> Rows:
        side, part = number % 2, parts[number]
        events[side].synchronize()  # the copy that used this buffer before is over
        pinned = buffers[side]
        if pinned is None or len(pinned) < len(part):
            pinned = buffers[side] = torch.empty(part.values.shape, dtype=part.values.dtype, pin_memory=True)
        pinned[: len(part)].copy_(part.values)
        with torch.cuda.stream(copies):
            values = pinned[: len(part)].to(device, non_blocking=True)
            events[side].record(copies)
        rest = _to(Rows(values, part.scales, part.keep), device)
        values.record_stream(torch.cuda.current_stream(device))
        return rest

    following = start(0) if parts else None
    for number in range(len(parts)):
        current = following
        assert current is not None
        torch.cuda.current_stream(device).wait_event(events[number % 2])
        following = start(number + 1) if number + 1 < len(parts) else None
        yield current


def _to(part: Rows, device: torch.device) -> Rows:
    scales = None if part.scales is None else part.scales.to(device)
    return Rows(part.values.to(device), scales, None if part.keep is None else part.keep.to(device))
