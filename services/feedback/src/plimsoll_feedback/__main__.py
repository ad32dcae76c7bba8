"""python -m plimsoll_feedback"""

from plimsoll_feedback.main import main

main()
