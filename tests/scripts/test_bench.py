"""The benchmark, on small sizes: what it writes, and what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
pytestmark = pytest.mark.timeout(600)  # ten fresh processes, on however busy a machine


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    ground = folder / "ground"
    ground.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parents[1])}
    ran = subprocess.run(
        [sys.executable, BENCH, "--without", "xyzpy", "sqlite", "--disk", ground, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert list(ground.iterdir()) == []
    return ran


def read(folder: Path, stem: str) -> dict[str, Any]:
    out = folder / "bench-output"
    assert {path.name for path in out.iterdir()} == {f"{stem}.{e}" for e in ("json", "md", "svg")}
    report: dict[str, Any] = json.loads((out / f"{stem}.json").read_text())
    head = {"format", "date", "machine", "sizes", "rounds", "minutes"}
    assert report.keys() - head == ({"growth"} if stem == "growth" else {"rows"})
    told = {"processor", "cores", "memory_gib", "system", "file_system", "load", "python"}
    assert report["machine"].keys() == told | {"versions"}
    return report


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
def test_a_quick_run_writes_a_table_a_picture_and_everything_as_json(tmp_path: Path) -> None:
    ran = bench(tmp_path, "--quick", "--rounds", "2", "--rows", "grid", "many_batches")
    assert ran.returncode == 0, ran.stderr

    report = read(tmp_path, "speed")
    rows = report["rows"]
    assert list(rows) == ["grid", "many_batches"]
    laps = [line["lap"] for line in rows["many_batches"]["lines"]]
    assert laps == ["sow", "grow", "status", "reap", "delete"]
    for name, row in rows.items():
        rounds = 1 if name == "many_batches" else 2
        told = {"title", "limit", "place", "size", "per", "divisor", "took", "lines"}
        assert row.keys() == told
        for line in row["lines"]:
            assert line.keys() == {"lap", "contenders", "marks"}
            assert line["contenders"].keys() == {"bare", "cropfit"}
            for figures in line["contenders"].values():
                assert figures["seconds"] > 0
                assert figures["ratio"] > 0
                assert figures["mib"] >= 0
                assert figures["cpu"] >= 0
                assert len(figures["all_seconds"]) == len(figures["all_mib"]) == rounds
            for mark in line["marks"]:
                assert mark.keys() == {"text", "of", "margin", "met"}
    without_peer, memory = rows["grid"]["lines"][0]["marks"]
    assert without_peer == {
        "text": "50 × faster than xyzpy",
        "of": "time",
        "margin": None,
        "met": None,
    }
    assert memory["met"] is not None
    title = "sow a grid of 1e4 cases, 100 batches"
    assert title == rows["grid"]["title"]
    assert title in (tmp_path / "bench-output" / "speed.md").read_text()


def test_growth_is_told_as_an_exponent_for_each_step(tmp_path: Path) -> None:
    options = ["--growth", "--most", "100", "--rounds", "1", "--rows", "many_batches"]
    ran = bench(tmp_path, *options)
    assert ran.returncode == 0, ran.stderr

    row = read(tmp_path, "growth")["growth"]["many_batches"]
    assert row["sizes"] == [10, 100]
    assert [line["lap"] for line in row["lines"]] == ["sow", "grow", "status", "reap", "delete"]
    for line in row["lines"]:
        assert line.keys() == {"lap", "bare", "cropfit", "above_linear"}
        assert len(line["cropfit"]["seconds"]) == 2
        assert isinstance(line["cropfit"]["exponent"], float)
