"""freeze.py PROCESS NAME…: stops the threads with these names, as a hang of them would, by ptrace(2).

Prints "frozen" when they stand, ends when they are dead; when it is killed they go on."""

import contextlib
import ctypes
import os
import sys
from pathlib import Path

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WALL = 0x40000000  # wait for threads too


def main(process, names):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    tasks = [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]
    # The kernel keeps 15 characters of a name.
    tasks = [task for task in tasks if Path(f"/proc/{process}/task/{task}/comm").read_text().strip() in names]
    if not tasks:
        sys.exit(f"process {process} has no thread called {' or '.join(names)}")
    for task in tasks:
        for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            if libc.ptrace(request, task, None, None) != 0:
                sys.exit(f"cannot stop thread {task}: {os.strerror(ctypes.get_errno())}")
        os.waitpid(task, WALL)
    print("frozen", flush=True)
    for task in tasks:
        # A thread that dies with its process is not always there to be waited for.
        with contextlib.suppress(ChildProcessError):
            while not os.WIFSIGNALED(os.waitpid(task, WALL)[1]):
                pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
