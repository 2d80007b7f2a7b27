from tiebreak.cli import main

main()
