"""Loops and counts of machine code, read from text; tests/kernels/test_cuda_build.py reads the real one."""

from __future__ import annotations

import pytest

from benchmarks.harness import counted, machine_code
from benchmarks.harness.predictions import DATA_SHEETS

TEXT = """
		Function : _Z5first
        /*0000*/                   MOV R1, c[0x0][0x28] ;                 /* 0x00000a0000017a02 */
                                                                          /* 0x000fe40000000f00 */
        /*0010*/                   LDG.E.NA.128.CONSTANT R4, desc[UR4][R2.64] ;  /* 0x0 */
        /*0020*/                   FADD R5, R5, R4 ;                      /* 0x0 */
        /*0030*/              @!P0 BRA 0x50 ;                             /* 0x0 */
        /*0040*/                   STL [R1], R5 ;                         /* 0x0 */
        /*0050*/               @P1 BRA P2, 0x20 ;                         /* 0x0 */
        /*0060*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;          /* 0x0 */
        /*0070*/               @P3 BRA 0x10 ;                             /* 0x0 */
        /*0080*/                   EXIT ;                                 /* 0x0 */
        /*0090*/                   BRA 0x90;                              /* 0x0 */

		Function : _Z6second
        /*0000*/                   EXIT ;                                 /* 0x0 */
"""


def test_loops_are_found_by_their_branches() -> None:
    found = machine_code.kernels(TEXT)
    assert list(found) == ["_Z5first", "_Z6second"]
    code = found["_Z5first"]
    assert [len(loop) for loop in code.loops()] == [7, 4]
    assert len(code.loop("FADD", inner=True)) == 4
    assert len(code.loop(machine_code.WIDE_LOAD)) == 7
    assert [text for _, text in code.skipped().lines] == ["STL [R1], R5"]
    assert code.loop("FADD", inner=True).count(r"\b(LDL|STL)") == 1
    with pytest.raises(ValueError, match="no loop with 1 of LDS"):
        code.loop("LDS")


def test_work_takes_the_larger_of_issue_and_memory() -> None:
    work = counted.Work(instructions=2 * 132 * 4 * 1.755e6, bytes=1e9)
    assert work.issue_ms() == pytest.approx(2)
    assert work.ms(read=1e9) == pytest.approx(2)
    assert work.ms(read=1e8) == pytest.approx(10)
    assert counted.Work(work.instructions, 0, blocks=66).issue_ms() == pytest.approx(4)


def test_counts_follow_the_shapes() -> None:
    """Twice the samples or tokens is twice the work; chunks and blocks are whole."""
    assert counted.token(64, 1536, 1536).instructions == 2 * counted.token(32, 1536, 1536).instructions
    assert counted.token(33, 1536, 1536).instructions == counted.token(64, 1536, 1536).instructions
    assert counted.token(32, 1536, 1536, samples=3).blocks == 3
    assert counted.flat(1536, 4096).instructions == 2 * counted.flat(1536, 2048).instructions
    assert counted.flat(1536, 1536).bytes == 2 * 1536 * 1536
    assert counted.flat_model().bytes == pytest.approx(2 * 1.419e9, rel=1e-3)


def test_every_case_is_at_least_its_memory_floor() -> None:
    for card in DATA_SHEETS:
        for name, work in counted.CASES:
            assert 0 < work().memory_ms(card.read) <= work().ms(card.read), name
