"""The output of other processes goes to stderr alone, and its end is kept."""

import os
import subprocess
import sys

from runtime.last_lines import LINES, LastLines, to_stderr

SAYS = "import sys; print('result'); [print('line', n, file=sys.stderr) for n in range(40)]"


def test_output_goes_to_stderr_and_its_end_is_kept(capfd):
    print("before")
    with to_stderr() as last:
        os.write(1, b"mine\n")
        subprocess.run([sys.executable, "-c", SAYS], check=True)
    print("after")
    out, err = capfd.readouterr()
    assert out == "before\nafter\n"
    assert "mine\n" in err and "result\n" in err and "line 0\n" in err
    assert last.lines[-1] == "line 39" and len(last.lines) == LINES


def test_quiet_output_goes_nowhere_and_is_kept(capfd):
    with to_stderr(shown=False) as last:
        subprocess.run([sys.executable, "-c", "print('boom \u00e9', end='')"], check=True)
    assert capfd.readouterr() == ("", "")
    assert last.lines == ["boom \u00e9"]


def test_a_line_that_comes_in_pieces_is_whole():
    """Also a letter of two bytes that is cut in the middle."""
    last = LastLines()
    for block in (b"one\ntw", b"o \xc3", b"\xa9", b"\n\nthree"):
        last.add(block)
    assert last.lines == ["one", "two \u00e9", "three"]
