"""python -m plimsoll_memory."""

from plimsoll_memory.main import main

main()
