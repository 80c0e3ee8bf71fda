"""A sampler that is killed, stopped or out of time goes on as if nothing had happened."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from steps import start, tree

import cropfit as cf
from cropfit.errors import DamagedError, ExistsError
from cropfit.fitting.samplers import keeper, load_sampler
from cropfit.fitting.samplers.base import Draws, Task
from cropfit.fitting.samplers.keeper import Keeper

RESUMABLE = ["dynesty", "dynesty rwalk", "dynesty-dynamic", "maxlike", "emcee"]
OPTIONS = {"dynesty rwalk": {"sample": "rwalk"}, "dynesty-dynamic": {"n_effective": 100}}
N_LIVE = {"maxlike": 3, "emcee": 16}


def bell(p, data):
    return -0.5 * ((p.x / 0.1) ** 2 + ((p.y - p.x) / 0.1) ** 2)


def problem(**options):
    priors = {"x": cf.Uniform(-1, 1), "y": cf.Uniform(-1, 1)}
    return cf.Model(bell, priors, **options).bind(None)


def sample(name: str, folder: Path | None, what=None, **terms) -> Draws:
    terms = {"n_live": N_LIVE.get(name, 50), "seed": 3, "checkpoint_every": 0.0, **terms}
    task = Task(
        checkpoint=None if folder is None else str(folder),
        options=OPTIONS.get(name, {}),
        **terms,
    )
    return load_sampler(name.partition(" ")[0])(what or problem(), task)


def same(one: Draws, other: Draws) -> bool:
    return (
        np.array_equal(one.samples, other.samples)
        and np.array_equal(one.log_weights, other.log_weights)
        and (one.log_evidence == other.log_evidence or math.isnan(one.log_evidence))
        and (one.calls, one.converged, one.why) == (other.calls, other.converged, other.why)
    )


def ended(looks: Iterator[int]) -> bool:
    return next(looks, None) is None


@pytest.mark.parametrize("name", RESUMABLE)
def test_a_fit_that_is_stopped_again_and_again_gives_the_numbers_of_one_that_is_not(name, tmp_path):
    """Samples, evidence, and calls over all lives."""
    whole = sample(name, None)
    lives = 0
    while True:
        lives += 1
        looks = iter(range(60 * lives))  # more with each life, so that the end comes
        draws = sample(name, tmp_path, should_stop=partial(ended, looks))
        if draws.converged:
            break
        assert draws.why == "asked to stop"
    assert lives > 2
    assert same(draws, whole)


@pytest.mark.parametrize("name", RESUMABLE)
def test_a_deadline_leaves_a_state_to_go_on_from(name, tmp_path):
    """Here in the middle of the initial points, which for dear likelihoods take long."""
    whole = sample(name, None)
    halves = problem(vectorized=False)
    looks = iter(range(10**9))
    begun = sample(name, tmp_path, halves, max_calls=30, should_stop=lambda: next(looks) > 90)
    assert not begun.converged
    assert begun.calls < whole.calls
    assert [path for path in tree(tmp_path) if not path.startswith("state-")] == []
    assert same(sample(name, tmp_path), whole)


def test_a_fit_out_of_calls_goes_on_when_it_may_have_more(tmp_path):
    short = sample("dynesty", tmp_path, max_calls=2000)
    assert (short.why, short.calls >= 2000) == ("max_calls", True)
    assert same(sample("dynesty", tmp_path), sample("dynesty", None))


def test_a_step_of_a_dear_likelihood_is_not_computed_twice(tmp_path):
    """The state holds what was computed since the step began."""
    seen = []

    def dear(p, data):
        seen.append((float(p.x), float(p.y)))
        return float(bell(p, data))

    priors = {"x": cf.Uniform(-1, 1), "y": cf.Uniform(-1, 1)}
    slow = cf.Model(dear, priors, vectorized=False).bind(None)
    for limit in range(100, 2000, 130):
        sample("dynesty", tmp_path, slow, max_calls=limit)
    final = sample("dynesty", tmp_path, slow)
    assert len(seen) == len(set(seen)) == final.calls


# -- files ---------------------------------------------------------------------------

PROGRAM = """
import os, signal, sys
import numpy as np
from cropfit.fitting.samplers import keeper
from test_sampler_checkpoints import OPTIONS, N_LIVE, problem
from cropfit.fitting.pools import likelihood_pool
from cropfit.fitting.samplers import load_sampler
from cropfit.fitting.samplers.base import Task

name, folder, last, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
done = []
if last < 10**9:
    keeper.SHARE = 1e12  # save at every look, whatever it costs

def fatal(operation, half):
    def run(*args):
        done.append(1)
        if len(done) == last:
            half(*args)
            os.kill(os.getpid(), signal.SIGKILL)
        return operation(*args)
    return run

write = os.write
keeper.os.write = fatal(os.write, lambda handle, data: write(handle, bytes(data)[: len(data) // 2]))
for each in ("fsync", "replace"):
    setattr(os, each, fatal(getattr(os, each), lambda *_: None))
what = problem()
with likelihood_pool(what, n_pool=workers) as pool:
    task = Task(seed=3, n_live=N_LIVE.get(name, 50), checkpoint=folder, checkpoint_every=0.0,
                pool=pool if workers > 1 else None, options=OPTIONS.get(name, {}))
    draws = load_sampler(name.partition(" ")[0])(what, task)
np.savez(folder + "/../draws.npz", samples=draws.samples, weights=draws.log_weights,
         numbers=[draws.log_evidence, draws.calls])
"""


@pytest.mark.parametrize("name", ["dynesty", "dynesty rwalk", "emcee"])
def test_kills_in_the_middle_of_saving_cost_nothing_that_was_saved(name, tmp_path):
    """Real ones: at each kind of file operation, after half of what was to be written."""
    folder = tmp_path / "sampler"
    folder.mkdir()
    here = Path(__file__).parent
    paths = [Path(cf.__file__).parent.parent, here.parent, here]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    lives = [1, 2, 3, 4, 7, 14, 10**9]
    for life, last in enumerate(lives):
        workers = "2" if name == "dynesty" and life % 3 == 2 else "1"
        child = start(PROGRAM, name, str(folder), str(last), workers, env=environment)
        output, _ = child.communicate(timeout=200)
        if last < 10**9:
            assert child.returncode == -signal.SIGKILL, output
    assert child.returncode == 0, output
    whole, found = sample(name, None), np.load(tmp_path / "draws.npz")
    assert np.array_equal(found["samples"], whole.samples)
    assert np.array_equal(found["weights"], whole.log_weights)
    assert np.array_equal(found["numbers"], [whole.log_evidence, whole.calls], equal_nan=True)
    assert [path for path in tree(folder) if not path.startswith("state-")] == []
    assert [path for path in tree(folder) if path.endswith(".draft")] == []


def kept(folder: Path, **live) -> Keeper:
    return Keeper(str(folder), 60.0, live, {"library": "1.0"})


def test_a_torn_state_is_noticed_at_any_length_and_the_one_before_is_used(tmp_path):
    first = kept(tmp_path)
    for number in range(3):
        first.save(lambda number=number: {"number": number})
    newest = tmp_path / "state-1"
    whole = newest.read_bytes()
    assert kept(tmp_path).load() == {"number": 2}
    for length in range(len(whole)):
        newest.write_bytes(whole[:length])
        assert kept(tmp_path).load() == {"number": 1}
    newest.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert kept(tmp_path).load() == {"number": 1}


def test_the_slot_that_is_torn_is_the_next_to_be_written(tmp_path):
    first = kept(tmp_path)
    for number in range(3):
        first.save(lambda number=number: {"number": number})
    (tmp_path / "state-1").write_bytes(b"")
    again = kept(tmp_path)
    assert again.load() == {"number": 1}
    again.save(lambda: {"number": 9})
    assert kept(tmp_path).load() == {"number": 9}
    assert tree(tmp_path) == ["state-0", "state-1"]


def test_two_torn_states_start_anew_and_say_so(tmp_path):
    for slot in ("state-0", "state-1"):
        (tmp_path / slot).write_bytes(b"cropfit-state-1 7 00\nhalf")
    with pytest.warns(RuntimeWarning, match="No state in .* is whole: the fit starts anew"):
        draws = sample("dynesty", tmp_path)
    assert same(draws, sample("dynesty", None))


def test_a_state_of_another_version_is_refused_and_left_alone(tmp_path):
    Keeper(str(tmp_path), 60.0, {}, {"library": "0.9"}).save(lambda: {"number": 1})
    with pytest.raises(ExistsError, match=r"saved with .*0\.9.*and here is .*1\.0"):
        kept(tmp_path).load()
    assert tree(tmp_path) == ["state-1"]


def test_a_state_that_cannot_be_unpickled_is_damaged(tmp_path):
    thing = object()
    kept(tmp_path, thing=thing).save(lambda: {"thing": thing})
    with pytest.raises(DamagedError, match="cannot be read here"):
        kept(tmp_path).load()
    assert kept(tmp_path, thing="it").load() == {"thing": "it"}


def test_a_full_disk_costs_a_warning_and_not_the_fit(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeper, "write_whole", full)
    with pytest.warns(RuntimeWarning, match="No space left.*goes on and will try again"):
        draws = sample("dynesty", tmp_path)
    assert same(draws, sample("dynesty", None))


def test_saving_takes_a_small_share_of_the_time_however_often_it_is_asked_for(tmp_path):
    one = kept(tmp_path)
    one.every = 0.0
    begin = time.monotonic()
    one.save(lambda: {"much": np.zeros(10**6)})
    took = time.monotonic() - begin
    assert not one.due()
    assert one.took <= took


def test_the_state_does_not_hold_the_data(tmp_path):
    data = np.zeros(10**6)

    def likelihood(p, data):
        return bell(p, data) + data[0]

    priors = {"x": cf.Uniform(-1, 1), "y": cf.Uniform(-1, 1)}
    heavy = cf.Model(likelihood, priors).bind(data)
    sample("dynesty", tmp_path, heavy, max_calls=2000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500_000
