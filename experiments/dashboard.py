"""The comparison on one page, reports/dashboard/index.html, and with logger.mode=online a W&B report. `make dashboard`."""

from omegaconf import DictConfig

from experiments.command.app import app


@app
def main(cfg: DictConfig) -> None:
    from experiments.reports.page import dashboard  # torch and Lightning are imported to work, not to speak

    dashboard.run(cfg)


if __name__ == "__main__":
    main()
