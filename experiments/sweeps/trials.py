"""Trials of a search in a journal file: shared by processes, continued after kill -9, failures repeated."""

from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from weightgen.errors import WeightgenError
from weightgen.files import write_rows, write_text
from weightgen.rng import derived_seed

try:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import FrozenTrial, Trial, TrialState
except ImportError:  # the extra is missing; Trials says so
    optuna = None  # type: ignore[assignment]

RETRY = "retry_of"


def distribution(about: dict[str, Any]) -> Any:
    """One entry of search.space as optuna knows it. Raises WeightgenError if it makes no sense."""
    bounds = {key: value for key, value in about.items() if key not in ("option", "int")}
    kind = optuna.distributions.IntDistribution if about.get("int") else optuna.distributions.FloatDistribution
    if "choices" in about:
        kind = optuna.distributions.CategoricalDistribution
    try:
        return kind(**bounds)
    except (TypeError, ValueError) as error:
        raise WeightgenError(f"search.space: {about.get('option')}: {error}") from None


class Trials:
    """`count` trials over `space`, each taken by one process.

    folder: holds study.journal, trials.csv, best.yaml. seed: with the number of trials before it, a trial's values follow
    from it, so that an interrupted search is the uninterrupted one. settings: fingerprint of what is not searched.
    Raises WeightgenError if optuna is missing, or the folder holds a search with other settings.
    """

    def __init__(self, folder: Path, space: list[dict[str, Any]], count: int, seed: int, settings: str) -> None:
        if optuna is None:
            raise WeightgenError("a search needs optuna: pip install -e '.[optuna]' -c .ci/constraints.txt")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.count, self.seed = folder, count, seed
        self.space = {about["option"]: distribution(about) for about in space}
        (folder / ".running").mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / ".lock")
        self.held: dict[int, FileLock] = {}
        with self.lock:
            storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
            self.study = optuna.create_study(
                storage=storage, study_name="search", direction="minimize", load_if_exists=True
            )
            if self.study.user_attrs.setdefault("settings", settings) != settings:
                raise WeightgenError(
                    f"{folder} holds a search with other settings: say search.name=<new name>, or delete that folder"
                )
            self.study.set_user_attr("settings", settings)
            self._repeat()

    def _repeat(self) -> None:
        """Queue again what failed, and what a process had begun that is no more."""
        for trial in self._counted():
            if trial.state == TrialState.RUNNING and self._abandoned(trial.number):
                self.study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state != TrialState.FAIL:
                continue
            self.study.enqueue_trial(trial.params, user_attrs={RETRY: trial.number})

    def _abandoned(self, number: int) -> bool:
        try:
            with FileLock(self._running(number), timeout=0):
                return True
        except Timeout:
            return False

    def _running(self, number: int) -> Path:
        return self.folder / ".running" / f"{number}.lock"

    def _counted(self) -> list["FrozenTrial"]:
        """Trials that were begun and not repeated since."""
        trials = self.study.get_trials()
        repeated = {trial.user_attrs.get(RETRY) for trial in trials}
        return [t for t in trials if t.number not in repeated and t.state != TrialState.WAITING]

    def next(self) -> "Trial | None":
        """The next trial, now this process' own; None when there are `count`."""
        with self.lock:
            taken = len(self._counted())
            if taken >= self.count:
                return None
            seed = derived_seed(self.seed, "search/trial", taken)
            self.study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = self.study.ask(self.space)
            self.held[trial.number] = FileLock(self._running(trial.number))
            self.held[trial.number].acquire()
            return trial

    def done(self, trial: "Trial", value: float) -> None:
        self._tell(trial, value, TrialState.COMPLETE)

    def unusable(self, trial: "Trial", reason: str) -> None:
        """Its values are to be avoided."""
        trial.set_user_attr("reason", reason)
        self._tell(trial, None, TrialState.PRUNED)

    def failed(self, trial: "Trial", reason: str) -> None:
        trial.set_user_attr("reason", reason)
        self._tell(trial, None, TrialState.FAIL)

    def _tell(self, trial: "Trial", value: float | None, state: "TrialState") -> None:
        with self.lock:
            self.study.tell(trial, value, state=state)
            lock = self.held.pop(trial.number)
            lock.release()
            self._running(trial.number).unlink(missing_ok=True)
            self._write()

    def report(self, number: int) -> str:
        """A trial's outcome in words."""
        trial = self.study.get_trials()[number]
        return f"l1 {trial.value:.4f}" if trial.value is not None else trial.user_attrs["reason"]

    def best(self) -> "FrozenTrial":
        """Raises WeightgenError if no trial was of use."""
        if not any(trial.state == TrialState.COMPLETE for trial in self.study.get_trials()):
            raise WeightgenError(f"no trial of {self.folder} was of use: see trials.csv, narrow search.space")
        return self.study.best_trial

    def _write(self) -> None:
        """trials.csv, and best.yaml with the best trial's values as overrides."""
        rows = [
            [t.number, t.state.name.lower(), t.value, *map(t.params.get, self.space), t.user_attrs.get("reason")]
            for t in self._counted()
        ]
        write_rows(self.folder / "trials.csv", ["trial", "state", "l1", *self.space, "reason"], rows)
        if any(trial.state == TrialState.COMPLETE for trial in self.study.get_trials()):
            best = self.study.best_trial
            overrides = [f"{option}={value}" for option, value in best.params.items()]
            content = {"l1": best.value, "trial": best.number, "overrides": overrides}
            write_text(self.folder / "best.yaml", OmegaConf.to_yaml(OmegaConf.create(content)))
