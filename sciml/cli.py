"""The command line: `python train.py model=lsm dataset=navier_stokes`; `sciml` once installed.

The only file of the library that knows Hydra. It checks what was typed before anything is made,
builds plain objects from the configuration, and joins data, training and evaluation.
"""

import logging
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import hydra
import torch
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pytorch_lightning.loggers import Logger
from typing_extensions import override

from sciml.data.plan import Plan
from sciml.data.writers.atomic import write_atomically
from sciml.evaluation.judge import Judge
from sciml.evaluation.problem_plan import ProblemPlan
from sciml.evaluation.report import summary_line, write_environment
from sciml.evaluation.solution_report import SUMMARY, solve_and_report
from sciml.nn.model import SurrogateModel
from sciml.option_types import expected_type, nearest
from sciml.solvers.base import PDESolver
from sciml.training.fit import fit
from sciml.training.loggers import finish, log_config
from sciml.training.normalized import NormalizedModel, check_normalization
from sciml.training.objective import Objective
from sciml.training.options import TrainerOptions

log = logging.getLogger(__name__)

_INSTALLED = Path(__file__).parent / "conf"
CONFIG_DIR = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "conf"
OWN_ERRORS = (
    ArithmeticError, ValueError, TypeError, OSError, HydraException, OmegaConfBaseException,
)  # fmt: skip
# raised by the constructors of a model and a data set, or problem, that do not go together
PAIR_ERRORS = (InstantiationException, ValueError, TypeError)
FIT_OPTIONS = ("trainer", "evaluation", "resume")


class CommandLineError(ValueError):
    """Something on the command line that cannot be meant; the message names what can."""


def main() -> None:
    """Console entry point; ends with status 2 and one line when the command line is wrong."""
    OmegaConf.register_new_resolver(
        "sciml.run_folder", lambda resume, new: resume or new, replace=True
    )
    try:
        sys.argv[1:] = with_saved_overrides(sys.argv[1:])
        check_command_line(sys.argv[1:])
    except CommandLineError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name="config")(run)()


# ------------------------------------------------- one run


def run(config: DictConfig) -> float | None:
    """Run one configured task; a known kind of error ends with one line instead of a trace."""
    try:
        return (FitTask if config.task == "fit" else SolveTask)(config).run()
    except OWN_ERRORS as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        log.error("error: %s", _cause(error))
        raise SystemExit(1) from None


class Task(ABC):
    """One run: every object is built and checked first, then the work begins.

    Raises:
        ValueError: If the chosen objects do not go together, in words.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.folder = Path(HydraConfig.get().runtime.output_dir)
        log.info("scale=%s: %s (another with scale=%s)", *config.scale.values())
        self.seed = int(config.seed)
        torch.manual_seed(self.seed)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        self.loggers: list[Logger] = _build(config.logger, folder=str(self.folder))

    @abstractmethod
    def run(self) -> float | None:
        """Do the work and report; returns the value that a sweep minimises."""

    @abstractmethod
    def model_for(self, plan: Any) -> Any:
        """The model or solver for what ``dataset=`` describes; an error if they do not fit."""

    def paired(self, plan: Any) -> Any:
        """As `model_for`; the error names the pair, and the data sets that would do."""
        try:
            return self.model_for(plan)
        except PAIR_ERRORS as error:
            raise ValueError(
                f"model={_choice('model')} dataset={_choice('dataset')}: {_cause(error)}; "
                f"data sets that this model accepts: {', '.join(self._accepted()) or 'none'}"
            ) from error

    def _accepted(self) -> list[str]:
        """Data sets of the configuration for which the model can be built."""
        loader = GlobalHydra.instance().config_loader()
        names = loader.get_group_options("dataset")
        # all nodes in one composition, and nothing else: a whole configuration takes as long
        parts = [*(f"+dataset@{name}={name}" for name in names), f"+scale={_choice('scale')}"]
        nodes = loader.load_configuration(None, parts, RunMode.RUN)
        return [name for name in names if self._accepts(nodes[name])]

    def _accepts(self, dataset: DictConfig) -> bool:
        try:
            self.model_for(_build(dataset))
        except PAIR_ERRORS:
            return False
        return True

    def write_description(self) -> None:
        """What was asked for and on what machine, before anything can go wrong."""
        text = OmegaConf.to_yaml(self.config, resolve=True)
        write_atomically(self.folder / "config.yaml", lambda path: path.write_text(text))
        write_environment(self.folder, self.seed)
        log_config(self.loggers, _plain(self.config))


@final
class FitTask(Task):
    """A surrogate is fitted to a data set."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.plan: Plan = _build(config.dataset)
        if isinstance(self.plan, Plan):
            self.plan.spec()  # files that are missing say so themselves
        self.objective: Objective = _build(config.objective)
        self.model: SurrogateModel = self.paired(self.plan)
        spec = self.plan.spec()
        self.objective.check_spec(spec)
        self.judge: Judge = _build(config.evaluation)
        self.judge.check(self.plan)
        self.optimizer = _build(config.optimizer)
        self.scheduler = _build(config.scheduler)
        self.trainer = dict(config.trainer) | {"seed": self.seed}
        TrainerOptions.parse(self.trainer).budget()
        self.normalization = dict(config.normalization)
        check_normalization(spec, **self.normalization)
        self.forecasters = self.plan.forecasters()

    @override
    def run(self) -> float | None:
        """Make data, train, evaluate and report."""
        self.write_description()
        data = self.plan.open(self.seed)
        report = fit(
            NormalizedModel.from_data(self.model, data, **self.normalization),
            data,
            self.objective,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            logger=self.loggers,
            resume=self.config.resume,
            folder=self.folder,
            **self.trainer,
        )
        if not report.main_process:
            return None
        if report.interrupted:
            finish(self.loggers)
            log.warning("interrupted; continue with resume=%s", self.folder)
            return None
        name = _choice("model")
        metrics = self.judge(report, data, self.forecasters, self.loggers, name=name)
        finish(self.loggers)
        log.info(summary_line(metrics, self.folder, self.judge.summary))
        return metrics.get(self.config.optimize or self.judge.headline(data.spec))

    @override
    def model_for(self, plan: Any) -> SurrogateModel:
        if not isinstance(plan, Plan):
            raise ValueError("a surrogate is fitted to data, and this is a problem to solve")
        spec = plan.spec()
        self.objective.check_targets(spec, plan.has_targets)
        model: SurrogateModel = _build(self.config.model, _partial_=True)(spec)
        model.check_spec(spec)
        return model


@final
class SolveTask(Task):
    """A problem is solved."""

    def __init__(self, config: DictConfig) -> None:
        _refuse_fit_options()
        super().__init__(config)
        # first: options of the model may depend on the case
        self.plan: ProblemPlan = _build(config.dataset)
        self.solver: PDESolver = _build(config.model)
        self.paired(self.plan)

    @override
    def run(self) -> float | None:
        """Solve, compare with the classical solver and report."""
        self.write_description()
        metrics = solve_and_report(
            self.plan, self.solver, self.folder, self.loggers, name=_choice("model")
        )
        finish(self.loggers)
        log.info(summary_line(metrics, self.folder, SUMMARY))
        headline = "test/relative_l2" if self.plan.problem.has_exact else "solve/residual"
        return metrics.get(self.config.optimize or headline)

    @override
    def model_for(self, plan: Any) -> PDESolver:
        if not isinstance(plan, ProblemPlan):
            raise ValueError("a solver needs a problem, and this is a set of data")
        return self.solver


def _refuse_fit_options() -> None:
    """Options that only a fit reads would be ignored by a solve."""
    for written in HydraConfig.get().overrides.task:
        if re.split("[.=@]", written.lstrip("+~"))[0] in FIT_OPTIONS:
            raise ValueError(
                f"{written}: model={_choice('model')} solves a problem, and this option is "
                "for fits; leave it out"
            )


def _choice(group: str) -> str:
    return str(HydraConfig.get().runtime.choices[group])


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    return {str(key): plain[key] for key in plain} if isinstance(plain, dict) else {}


def _build(node: DictConfig, **options: Any) -> Any:
    """The object that a node describes, from plain values only."""
    return instantiate(node, _convert_="all", **options)


def _cause(error: BaseException) -> BaseException:
    """The library's own error behind one of Hydra's."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


# ------------------------------------------------- checks before anything is made


def with_saved_overrides(arguments: Sequence[str]) -> list[str]:
    """Complete ``resume=RUN_FOLDER`` by what that run was started with.

    What is typed again wins over what was saved, so that a budget can be raised.

    Raises:
        CommandLineError: If the folder is not that of a run.
    """
    folders = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not folders or folders[-1] in ("", "null"):
        return list(arguments)
    saved = Path(folders[-1]) / ".hydra" / "overrides.yaml"
    if not saved.is_file():
        raise CommandLineError(
            f"resume={folders[-1]}: expected a run folder, found no {saved}; "
            "give the folder= that the interrupted run printed"
        )
    typed = {a.partition("=")[0] for a in arguments}
    earlier = [str(item) for item in OmegaConf.load(saved)]
    return [a for a in earlier if a.partition("=")[0] not in typed] + list(arguments)


def check_command_line(arguments: Sequence[str]) -> None:
    """Refuse misspelt groups, choices, options and values of the wrong type.

    Raises:
        CommandLineError: Naming the nearest valid spelling or the expected type.
    """
    # as Hydra reads the line: "--cfg job" has a value that is no option of ours
    written = get_args_parser().parse_known_args(list(arguments))[0].overrides
    try:
        overrides = OverridesParser.create().parse_overrides(written)
    except HydraException as error:
        raise CommandLineError(
            f"cannot read {' '.join(written)!r}: {str(error).splitlines()[0]}; write "
            "name=value, and quote values that hold spaces, commas or equal signs"
        ) from None
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        groups = set(_groups())
        chosen = [o for o in overrides if _key(o) in groups]
        for override in chosen:
            _check_choice(override)
        first = [_first_choice(override) for override in chosen]
        try:
            base = hydra.compose("config", overrides=first)
        except ConfigCompositionException as error:
            raise CommandLineError(
                f"{' '.join(first)}: {str(error).splitlines()[0]} The "
                "chosen model has no use for that group; leave it out"
            ) from None
    for override in overrides:
        name = _key(override)
        if name not in groups and not name.startswith("hydra"):
            _check_option(override, base, groups)


def _groups(parent: str = "") -> Iterator[str]:
    loader = GlobalHydra.instance().config_loader()
    for name in loader.list_groups(parent):
        group = f"{parent}/{name}" if parent else name
        if group.split("/")[0] != "hydra":
            yield group
            yield from _groups(group)


def _key(override: Override) -> str:
    return str(override.key_or_group)


def _values(override: Override) -> list[Any]:
    if override.is_sweep_override():
        return list(override.sweep_iterator())
    return [override.value()]


def _first_choice(override: Override) -> str:
    return f"{_key(override)}={_values(override)[0]}"


def _check_choice(override: Override) -> None:
    group = _key(override)
    options = sorted(GlobalHydra.instance().config_loader().get_group_options(group))
    for value in _values(override):
        if str(value) not in options:
            raise CommandLineError(
                f"{group}={value}: there is no such {group}; {nearest(str(value), options)}"
                f"valid: {', '.join(options)}"
            )


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        name = prefix + str(key)
        yield name
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _leaves(child, f"{name}.")


def _check_option(override: Override, base: DictConfig, groups: set[str]) -> None:
    name, known = _key(override), list(_leaves(base))
    if override.is_add() and name in known:
        raise CommandLineError(
            f"{override.input_line}: the option exists already; write "
            f"{str(override.input_line).lstrip('+')} without the sign"
        )
    if override.is_add() and name.split(".")[0] in base:
        return  # +model.option=1 hands a new argument to a constructor, which checks it
    if name not in known:
        raise CommandLineError(
            f"{name}: there is no such option; {nearest(name, [*known, *groups])}"
            f"--cfg job prints every option, --help the groups"
        )
    if override.is_delete():
        return
    default = OmegaConf.select(base, name)
    if OmegaConf.is_config(default):
        default = OmegaConf.to_container(default)
    for value in _values(override):
        if (expected := expected_type(value, default)) is not None:
            raise CommandLineError(
                f"{name}: expected {expected} like the default {default!r}, got {value!r}"
            )
