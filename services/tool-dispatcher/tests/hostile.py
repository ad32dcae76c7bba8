"""Handlers that do what handlers should not."""

WORK = """
import asyncio, os, sys, time, math
from plimsoll_tool_dispatcher.handler import ToolRejected, ToolUnavailable

state = {"setups": 0}

async def setup(context):
    await asyncio.sleep(0.01)
    state["setups"] += 1

async def pid(arguments, context): return {"pid": os.getpid(), "setups": state["setups"]}
async def environment(arguments, context): return {"env": dict(os.environ), "argv": sys.argv, "credentials": dict(context.credentials), "file": __file__}
async def block(arguments, context): time.sleep(60)
async def stubborn(arguments, context):
    while True:
        try: await asyncio.sleep(60)
        except asyncio.CancelledError: pass
async def eat(arguments, context):
    eaten = []
    while True: eaten.append(bytearray(32 * 1024 * 1024))
async def print_garbage(arguments, context):
    for _ in range(20000): print("garbage \\x00\\xff")
    sys.stderr.write(f"the secret is {context.credentials['shop_database']}\\n")
    os.write(1, b"\\xff\\xfe" * 500_000)
    sys.stdout.flush()
    return {"said": True}
async def odd(arguments, context): return {"set": {1, 2}}
async def not_finite(arguments, context): return {"n": [math.nan]}
async def surrogate(arguments, context): return "\\ud800"
async def large_number(arguments, context): return 2**70
async def huge(arguments, context): return "x" * 1_000_000
async def die(arguments, context): os.kill(os.getpid(), 9)
async def leave(arguments, context): sys.exit(0)
async def reset(arguments, context): raise ConnectionResetError("the secret")
async def tell(arguments, context): raise ToolRejected("NO", f"cannot use {context.credentials['shop_database']}")
async def zero(arguments, context): raise ToolRejected("", "a\\0b")
async def later(arguments, context): raise ToolUnavailable("LATER", "later", retry_after_s="soon")
async def spill(arguments, context): raise ValueError("the argument was " + arguments["word"])
async def nap(arguments, context):
    if "note" in arguments: open(arguments["note"], "w").close()
    await asyncio.sleep(float(arguments["seconds"]))
    return {"napped": arguments["seconds"]}
async def meet(arguments, context):
    state["guests"] = state.get("guests", 0) + 1
    while state["guests"] < int(arguments["guests"]): await asyncio.sleep(0.01)
    return {"met": True}
async def fork(arguments, context):
    import subprocess
    return subprocess.Popen(["sleep", "300"]).pid
"""
NAMES = (
    *("pid", "environment", "block", "stubborn", "eat", "print_garbage", "odd", "not_finite", "surrogate", "large_number", "huge"),
    *("die", "leave", "reset", "tell", "spill", "nap", "meet", "fork", "zero", "later"),
)
