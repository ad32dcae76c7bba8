from plimsoll_model_router.main import main

main()
