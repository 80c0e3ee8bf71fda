"""What a fit costs beside its sampler alone, and the table of many fits."""

from __future__ import annotations

import os
from glob import glob
from typing import Any

from contest import Mark, Round, Row, Sizes, contender, holds, over_bare, told
from meter import Meter

SEED = 1


def spectrum_of(key: int, points: int = 250) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(key)
    x = np.linspace(0.0, 4.0, points)
    line = 2.0 * np.exp(-0.5 * ((x - 2.0) / 0.3) ** 2)
    return {"x": x, "y": 3.0 * np.exp(-x / 1.5) + line + rng.normal(0.0, 0.1, points)}


def by_name(p: Any, data: Any) -> Any:
    return by_place((p.height, p.length, p.peak, p.centre, p.width), data)


def by_place(theta: Any, data: Any) -> Any:
    import numpy as np

    height, length, peak, centre, width = theta
    line = peak * np.exp(-0.5 * ((data["x"] - centre) / width) ** 2)
    left = data["y"] - height * np.exp(-data["x"] / length) - line
    return -0.5 * np.sum((left / 0.1) ** 2)


def transform(u: Any) -> Any:
    """The same priors as those of `model`, as one writes them for dynesty."""
    import numpy as np

    start, end = np.log(0.1), np.log(10.0)
    theta = np.array([10.0, 1.0, 10.0, 4.0, 1.0 - 0.05]) * u
    theta[1] = np.exp(start + u[1] * (end - start))
    theta[4] += 0.05
    return theta


def model() -> Any:
    import cropfit as cf

    priors = {
        "height": cf.Uniform(0, 10),
        "length": cf.LogUniform(0.1, 10),
        "peak": cf.Uniform(0, 10),
        "centre": cf.Uniform(0, 4),
        "width": cf.Uniform(0.05, 1),
    }
    return cf.Model(by_name, priors, vectorized=False)


def share_of_sampler(share: float) -> Mark:
    """By processor time, which a busy machine changes least."""

    def margin(found: Round, row: Row) -> float:
        return told(found, "cropfit", "", "cpu") / told(found, "bare", "", "cpu") / share

    return Mark(f"within {share:g} × bare", margin)


class DynestyAlone(Row):
    title = "a dynesty fit to {points} points"
    limit = "dynesty alone, priors and likelihood of arrays"
    sizes = Sizes(
        quick={"points": 250, "n_live": 20},
        normal={"points": 250, "n_live": 100},
    )
    marks = (
        share_of_sampler(1.02),
        holds(
            "same numbers", lambda notes, row: notes["cropfit"]["log_z"] == notes["bare"]["log_z"]
        ),
    )

    @contender
    def bare(self, meter: Meter) -> None:
        import numpy as np
        from dynesty import NestedSampler

        data = spectrum_of(SEED, self.points)
        with meter():
            sampler = NestedSampler(
                lambda theta: by_place(theta, data),
                transform,
                5,
                rstate=np.random.default_rng(SEED),
                nlive=self.n_live,
                sample="rwalk",
            )
            sampler.run_nested(print_progress=False)
        meter.notes["log_z"] = float(sampler.results["logz"][-1])

    @contender
    def cropfit(self, meter: Meter) -> None:
        import cropfit as cf

        data, options = spectrum_of(SEED, self.points), {"n_live": self.n_live, "sample": "rwalk"}
        with meter():
            fit = cf.fit(model(), data, seed=SEED, progress=False, **options)
        meter.notes["log_z"] = float(fit.log_evidence)


class DynestySlower(DynestyAlone):
    """A likelihood that takes some 0.1 ms."""

    sizes = Sizes(
        quick={"points": 1000, "n_live": 20},
        normal={"points": 5000, "n_live": 60},
    )


class MergeCatalogue(Row):
    """`first` reads all fits, `again` finds nothing new."""

    title = "merge a catalogue of {objects} fits"
    limit = "reading the files"
    sizes = Sizes(quick={"objects": 5}, normal={"objects": 200})
    grows = tuple({"objects": 10**k} for k in range(1, 4))
    per = "objects"
    marks = (
        over_bare("0.5 ms a fit", lambda row: row.objects * 0.5e-3, "first"),
        over_bare("0.1 ms a fit", lambda row: row.objects * 0.1e-3, "again"),
    )

    def prepare_cropfit(self) -> None:
        import cropfit as cf

        flat = cf.Model(steep, {"a": cf.Uniform(-9, 9), "b": cf.Uniform(-9, 9)})
        options = {"sampler": "maxlike", "seed": SEED, "verbosity": 0, "num_batches": self.objects}
        cf.fit_catalogue(range(self.objects), flat, spectrum_of, run="bench", **options).grow()

    def prepare_bare(self) -> None:
        self.prepare_cropfit()

    @contender
    def bare(self, meter: Meter) -> None:
        for lap in ("first", "again"):
            with meter(lap):
                for file in glob(".crop-bench/grown/*/results.*"):
                    with open(file, "rb") as opened:
                        opened.read()

    @contender
    def cropfit(self, meter: Meter) -> None:
        import cropfit as cf

        crop = cf.Catalogue.load("bench", verbosity=0)
        for lap in ("first", "again"):
            with meter(lap):
                crop.merge("table.csv")
        os.unlink(".crop-bench/catalogue.jsonl")  # what it knows by now


def steep(p: Any, data: Any) -> Any:
    import numpy as np

    return -0.5 * np.sum(((data["y"] - p.a - p.b * data["x"]) / 0.1) ** 2, axis=-1)
