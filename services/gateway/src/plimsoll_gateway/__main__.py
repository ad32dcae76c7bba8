"""python -m plimsoll_gateway"""

from plimsoll_gateway.main import main

main()
