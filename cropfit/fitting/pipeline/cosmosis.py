"""A stage that runs CosmoSIS.

config, values ──▶ chain.ini, chain_values.ini ──▶ cosmosis ──▶ chain.txt ──▶ Fit
                        ▲                      (mpiexec -n N cosmosis --mpi)
what stages before found┘  (options -p and -v where the user's own files are used)
"""

from __future__ import annotations

import configparser
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cropfit.disk.owner import Owner
from cropfit.disk.publish import write_whole
from cropfit.errors import DesignError, StageError
from cropfit.fitting.identity import told
from cropfit.fitting.pipeline import template
from cropfit.fitting.pipeline.chain import SPLIT, read_chain, short_names
from cropfit.fitting.pipeline.command import MPIEXEC, execute, under_mpi
from cropfit.fitting.pipeline.inherit import (
    Around,
    Best,
    Inherited,
    Rules,
    check_rules,
    narrowed,
    rule_of,
)
from cropfit.fitting.pipeline.work import Found, Job
from cropfit.fitting.priors import Uniform
from cropfit.work.limits import Duration, seconds

__all__ = ["CosmoSIS"]

Sections = Mapping[str, Mapping[str, Any]]
CHAIN = "{folder}/chain.txt"


@dataclass(frozen=True)
class CosmoSIS:
    """A run of CosmoSIS.

    Its output is the stage's `Fit`, with parameters named ``section--name``; later stages may
    take them over by that name, or by ``name`` where only one section has it.

    Parameters
    ----------
    config : mapping of section to mapping, optional
        What the ini file holds; lists are joined by spaces, text is filled in as of `Command`. A
        section ``Values`` is taken for `values`. ``[output] filename`` is ``chain.txt`` in the
        stage's folder if it is not given.
    values : mapping of section to mapping, optional
        Name → number, or (low, start, high).
    ini, values_file : path, optional
        Where these files are written instead of beside the output; used as they are if they
        exist, with what is taken over as options ``-p`` and ``-v`` of CosmoSIS.
    program : sequence of str
    mpiexec : sequence of str
    environment : mapping
        What is added to this process's.
    timeout : duration, optional

    Notes
    -----
    It runs where the pipeline was started, so that paths of modules are meant from there.
    """

    config: Sections | None = None
    values: Sections | None = None
    ini: str | None = None
    values_file: str | None = None
    program: Sequence[str] = ("cosmosis",)
    mpiexec: Sequence[str] = MPIEXEC
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: Duration | None = None
    kind = "cosmosis"

    def __post_init__(self) -> None:
        config = {name: dict(each) for name, each in (self.config or {}).items()}
        inside = config.pop("Values", None)
        values = self.values if self.values is not None else inside
        object.__setattr__(self, "config", config)
        object.__setattr__(self, "values", _lower(values or {}))
        if not config and not (self.ini and os.path.isfile(template.expand(self.ini))):
            raise DesignError("CosmoSIS needs a config, or ini= with a file that is there.")
        if config.get("output", {}).get("format", "text") != "text":
            raise DesignError("CosmoSIS: [output] format must be text, which is read back.")

    def identity(self) -> dict[str, str]:
        """Digests of the configuration and the values, or of the user's files."""
        given = [
            self.ini if not self.config else None,
            self.values_file if self._theirs() else None,
        ]
        texts = [_text_of(template.expand(path)) if path else None for path in given]
        return {
            "the configuration": told([self.config, texts[0], list(self.program)]),
            "the values": told([self.values, texts[1]]),
        }

    def _theirs(self) -> bool:
        return not self.values and self.values_file is not None

    def parameters(self) -> dict[str, tuple[float, ...]]:
        """``section--name`` → (value,) or (low, start, high)."""
        sections = self.values or {}
        if not sections:
            path = self.values_file or self._option("pipeline", "values")
            sections = _parse(template.expand(path)) if path else {}
        return {
            f"{section}{SPLIT}{name}": _spec(section, name, each)
            for section, names in sections.items()
            for name, each in names.items()
        }

    def _settings(self) -> Sections:
        """The sections of the configuration, from the user's file if there is one."""
        if self.ini and os.path.isfile(template.expand(self.ini)):
            return _parse(template.expand(self.ini))
        return self.config or {}

    def _option(self, section: str, name: str) -> str | None:
        found = self._settings().get(section, {}).get(name)
        return None if found is None else str(found)

    def gives(self) -> set[str] | None:
        """All that varies, with and without sections; None if derived ones are asked for."""
        names = {name for name, spec in self.parameters().items() if len(spec) == 3}
        extra = self._option("pipeline", "extra_output")
        return None if extra else names | set(short_names(names))

    def check(self, stage: str, rules: Rules, known: set[str] | None) -> None:
        """Refuse rules for what is in neither the values nor the modules' sections."""
        check_rules(stage, rules, self._targets(), known)

    def _targets(self) -> dict[str, bool]:
        specs = self.parameters()
        free = {name: len(spec) == 3 for name, spec in specs.items()}
        free |= {name: free[whole] for name, whole in short_names(specs).items()}
        return {**{name: False for _, name in self._module_keys()}, **free}

    def _module_keys(self) -> list[tuple[str, str]]:
        """Sections of modules, with the names of the numbers in them."""
        settings = self._settings()
        listed = settings.get("pipeline", {}).get("modules", ())
        modules = listed.split() if isinstance(listed, str) else list(listed)
        return [
            (module, name)
            for module in modules
            for name, each in settings.get(module, {}).items()
            if _is_number(each)
        ]

    def asks_for(self) -> set[str]:
        """All names in the configuration, the paths, the program and the environment."""
        texts = [self.ini or "", self.values_file or "", *self.program, *self.environment.values()]
        texts += [t for names in (self.config or {}).values() for t in names.values()]
        return set().union(*(template.names_in(each) for each in texts if isinstance(each, str)))

    def do(self, job: Job) -> Found:
        """Write or take the files, run CosmoSIS, read its chain."""
        args, output, specs, inherited = self._arrange(job)
        values = template.values_for(job)
        added = {name: template.fill(text, values) for name, text in self.environment.items()}
        limit = math.inf if self.timeout is None else seconds(self.timeout)
        if os.path.exists(output):
            os.unlink(output)  # of a run that was killed: what is read is this one's
        begin = time.monotonic()
        execute(job, args, folder=os.getcwd(), environment=added, limit=limit)
        fixed = {name: spec[0] for name, spec in specs.items() if len(spec) == 1}
        found = read_chain(output, fixed)
        found.seconds = time.monotonic() - begin
        return Found(found, inherited=inherited)

    def prepare(self, job: Job) -> list[str]:
        """Write the files, with what is known by now."""
        args, output, _, _ = self._arrange(job)
        return [f"run {' '.join(args)}", f"read {output}"]

    def _arrange(
        self, job: Job
    ) -> tuple[list[str], str, dict[str, tuple[float, ...]], list[Inherited]]:
        """The command, its output, the values that it is run with, and where they are from."""
        texts = template.values_for(job)
        specs, changed, inherited = self._inherit(job)
        keys = self._inherit_keys(job, inherited)
        output = template.fill(self._option("output", "filename") or CHAIN, texts)
        os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
        stem = os.path.splitext(output)[0]
        values_file = template.fill(self.values_file or f"{stem}_values.ini", texts)
        ini = template.fill(self.ini or f"{stem}.ini", texts)
        options = []
        theirs = self._option("pipeline", "values") if not self.values_file else None
        if theirs and not self.values:
            values_file = template.fill(theirs, texts)
        if os.path.isfile(values_file) and (self.values_file or theirs):
            options += ["-v"] * bool(changed)
            options += [_assign(name, _joined(specs[name])) for name in changed]
        else:
            _write(values_file, _sections(specs))
        if self.ini and os.path.isfile(ini):
            told_now = {f"pipeline{SPLIT}values": values_file, f"output{SPLIT}filename": output}
            told_now |= {name: _plain(each) for name, each in keys.items()}
            options += ["-p", *(_assign(name, each) for name, each in told_now.items())]
        else:
            _write(ini, self._filled(texts, keys, values_file, output))
        program = [template.fill(each, texts) for each in self.program]
        mpi = ["--mpi"] if job.n_cores > 1 else []
        args = under_mpi([*program, *mpi, ini, *options], job.n_cores, self.mpiexec)
        return args, output, specs, inherited

    def _inherit(self, job: Job) -> tuple[dict[str, tuple[float, ...]], list[str], list[Inherited]]:
        """The values with what was found before, which of them changed, and from where."""
        self.check(job.name, job.rules, set(job.best))
        specs = self.parameters()
        short = {whole: name for name, whole in short_names(specs).items()}
        changed, inherited = [], []
        for name, spec in specs.items():
            asked = [each for each in (name, short.get(name)) if each in (job.rules or {})]
            known = [each for each in (*asked, name, short.get(name)) if each in job.best]
            if not known:
                continue
            best = job.best[str(known[0])]
            rule = rule_of(job.rules, str(asked[0] if asked else name), len(spec) == 3)
            if rule == "ignore":
                continue
            specs[name] = _taken(name, spec, rule, best)
            changed.append(name)
            inherited.append(Inherited(name, str(rule), best.value, best.stage))
        return specs, changed, inherited

    def _inherit_keys(self, job: Job, inherited: list[Inherited]) -> dict[str, float]:
        """What the sections of modules take over: numbers that they name already."""
        keys = {}
        for module, name in self._module_keys():
            whole = f"{module}{SPLIT}{name}"
            found = job.best.get(whole) or job.best.get(name)
            if found is not None and rule_of(job.rules, name, False) == "fix":
                keys[whole] = found.value
                inherited.append(Inherited(whole, "fix", found.value, found.stage))
        return keys

    def _filled(
        self, texts: Mapping[str, Any], keys: Mapping[str, float], values_file: str, output: str
    ) -> Sections:
        """The configuration as it is written."""
        sections = {
            section: {
                name: template.fill(each, texts) if isinstance(each, str) else each
                for name, each in names.items()
            }
            for section, names in (self.config or {}).items()
        }
        for whole, value in keys.items():
            module, _, name = whole.partition(SPLIT)
            sections[module][name] = value
        sections["pipeline"] = {**sections.get("pipeline", {}), "values": values_file}
        written = {"filename": output, "format": "text"}
        sections["output"] = {**sections.get("output", {}), **written}
        return sections


def _taken(name: str, spec: tuple[float, ...], rule: Any, best: Best) -> tuple[float, ...]:
    """A value's numbers with what was found before."""
    if rule == "fix":
        return (best.value,)
    if len(spec) == 1:
        raise DesignError(f"{name!r} is fixed at {spec[0]:g} and cannot be narrowed or start.")
    if isinstance(rule, Around):
        prior = narrowed(name, Uniform(spec[0], spec[2]), rule, best)
        return prior.low, min(max(best.value, prior.low), prior.high), prior.high
    if not spec[0] <= best.value <= spec[2]:
        raise DesignError(f"{name!r} cannot start at {best.value:g}, outside of {_joined(spec)}.")
    return spec[0], best.value, spec[2]


def _lower(sections: Sections) -> dict[str, dict[str, Any]]:
    """Sections with names in lower case, as CosmoSIS takes them."""
    return {
        section.lower(): {name.lower(): each for name, each in names.items()}
        for section, names in sections.items()
    }


def _spec(section: str, name: str, each: Any) -> tuple[float, ...]:
    words = each.split() if isinstance(each, str) else each
    try:
        numbers = tuple(
            float(word) for word in (words if isinstance(words, list | tuple) else [each])
        )
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) not in (1, 3):
        raise DesignError(
            f"CosmoSIS, values of [{section}]: {name} = {each!r} is neither a number nor "
            "(low, start, high)."
        )
    return numbers


def _parse(path: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=(";", "#"), strict=False
    )
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, configparser.Error) as error:
        raise DesignError(f"CosmoSIS: {path} cannot be read: {error}") from error
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise StageError(f"CosmoSIS: {path} cannot be read: {error.strerror}") from error


def _sections(specs: Mapping[str, tuple[float, ...]]) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for whole, spec in specs.items():
        section, _, name = whole.partition(SPLIT)
        sections.setdefault(section, {})[name] = list(spec)
    return sections


def _write(path: str, sections: Sections) -> None:
    lines = []
    for section, names in sections.items():
        lines += [f"[{section}]", *(f"{name} = {_plain(each)}" for name, each in names.items()), ""]
    write_whole(path, "\n".join(lines).encode(), str(Owner.here()))


def _plain(value: Any) -> str:
    """A value as CosmoSIS reads it."""
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return repr(float(value)) if isinstance(value, float) else str(value)


def _joined(spec: tuple[float, ...]) -> str:
    return _plain(list(spec))


def _assign(whole: str, value: str) -> str:
    section, _, name = whole.partition(SPLIT)
    return f"{section}.{name}={value}"


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)
