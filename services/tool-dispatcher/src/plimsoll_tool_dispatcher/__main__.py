"""python -m plimsoll_tool_dispatcher"""

from plimsoll_tool_dispatcher.main import main

main()
