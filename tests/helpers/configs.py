"""The configuration that a command line composes."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests.helpers.apps import ROOT

CONF = ROOT / "conf"


def composed(*overrides: str, **options: bool) -> DictConfig:
    """options: of hydra.compose, such as return_hydra_config=True."""
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", [*overrides], **options)
