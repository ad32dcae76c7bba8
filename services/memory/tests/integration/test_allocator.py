"""What the service tells the C library's allocator, seen in what the allocator says of itself."""

import re
import subprocess
import sys
from ctypes import CDLL

_PROGRAM = """
import ctypes, threading
from plimsoll_memory.adapters.allocator import give_memory_back

give_memory_back()
first = bytearray(8 << 20)
del first
again = bytearray(8 << 20)
everybody = threading.Barrier(6)

def work():
    mine = bytearray(300_000)
    everybody.wait(60)

threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
if hasattr(libc, "malloc_info"):
    libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
    libc.fflush(None)
"""


def test_threads_share_arenas_and_large_blocks_stay_apart_from_small_ones() -> None:
    """Where the C library is another one, there is nothing to tell, and nothing fails."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=True)
    if hasattr(CDLL(None), "malloc_info"):
        assert 1 <= done.stdout.count("<heap nr=") <= 2
        apart = re.search(r'<total type="mmap" count="\d+" size="(\d+)"', done.stdout)
        assert apart
        assert int(apart[1]) >= 8 << 20
