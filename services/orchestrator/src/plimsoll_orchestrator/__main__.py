from plimsoll_orchestrator.main import main

main()
