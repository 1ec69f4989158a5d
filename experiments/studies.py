"""List the studies, record one. `make studies`, `make record`."""

from experiments.sweeps.studies import main

if __name__ == "__main__":
    main()
