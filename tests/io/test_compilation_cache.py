"""The cache of compiled programs: where it is, who shares it, and what happens to bad entries."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from mmtp_jax.cli import main as entry
from mmtp_jax.io import compilation_cache as cache

PROGRAM = """\
import sys
from mmtp_jax.io.compilation_cache import compilation_cache
compilation_cache(sys.argv[1])
import jax, jax.numpy as jnp
from collections import Counter
seen = Counter()
jax.monitoring.register_event_listener(lambda event, **_: seen.update([event.split("/")[-1]]))
value = jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.arange(9.0).reshape(3, 3))
print(float(value).hex(), seen["cache_hits"], seen["cache_misses"])
"""

WHERE = """\
import os, warnings
warnings.simplefilter("error")
from mmtp_jax.io.compilation_cache import compilation_cache
print(compilation_cache(), os.environ.get("JAX_COMPILATION_CACHE_DIR"))
"""


def _environment(**variables) -> dict[str, str]:
    """Without what a session of tests sets."""
    kept = {k: v for k, v in os.environ.items() if "CACHE" not in k}
    return kept | {name: str(value) for name, value in variables.items()}


def _start(code: str, *arguments, **variables) -> subprocess.Popen:
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=_environment(**variables), stdout=-1, stderr=-1, text=True)


def _words(process: subprocess.Popen) -> list[str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.split()


def test_processes_share_it_and_a_cut_entry_is_compiled_again(tmp_path) -> None:
    at_once = [_start(PROGRAM, tmp_path / "cache") for _ in range(3)]
    values = {_words(process)[0] for process in at_once}
    loaded, hits, misses = _words(_start(PROGRAM, tmp_path / "cache"))
    assert values == {loaded}
    assert (int(hits) > 0, int(misses)) == (True, 0)

    entries = sorted((tmp_path / "cache").glob("*-cache"))
    for entry_ in entries:
        entry_.write_bytes(entry_.read_bytes()[:-9])
    again, hits, _ = _words(_start(PROGRAM, tmp_path / "cache"))
    assert (again, int(hits)) == (loaded, 0)

    # A day later what is cut off goes.
    os.utime(tmp_path / "cache" / "tidied", (1.0, 1.0))
    again, hits, misses = _words(_start(PROGRAM, tmp_path / "cache"))
    assert (again, int(hits), int(misses)) == (loaded, 0, len(entries))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"XDG_CACHE_HOME": "{0}/caches"}, "{0}/caches/mmtp_jax {0}/caches/mmtp_jax"),
        ({"MMTP_COMPILATION_CACHE": "{0}/mine"}, "{0}/mine {0}/mine"),
        ({"MMTP_COMPILATION_CACHE": "off"}, "None None"),
        ({"JAX_COMPILATION_CACHE_DIR": "{0}/jax"}, "{0}/jax {0}/jax"),
        ({"HOME": "{0}"}, "{0}/.cache/mmtp_jax {0}/.cache/mmtp_jax"),
    ],
)
@pytest.mark.skipif(sys.platform == "darwin", reason="the user's caches are elsewhere")
def test_where_it_is(tmp_path, variables, expected) -> None:
    set_to = {name: value.format(tmp_path) for name, value in variables.items()}
    process = _start(WHERE, **{"XDG_CACHE_HOME": "", **set_to})
    assert _words(process) == expected.format(tmp_path).split()
    if "JAX_COMPILATION_CACHE_DIR" not in variables and "None" not in expected:
        assert oct(next(tmp_path.rglob("tidied")).parent.stat().st_mode)[-3:] == "700"


def test_a_place_that_cannot_be_written_is_one_warning_and_no_cache(tmp_path) -> None:
    (tmp_path / "file").touch()
    code = WHERE.replace("simplefilter", "filterwarnings").replace('"error"', '"default"')
    process = _start(code, MMTP_COMPILATION_CACHE=tmp_path / "file" / "cache")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, "None None\n"), err
    message = f"compiled programs are not kept: {tmp_path / 'file' / 'cache'}: Not a directory"
    assert err.count("compiled programs") == 1
    assert message in err


def test_it_is_bounded_and_drops_what_is_unused(tmp_path) -> None:
    ages = {"new": 3, "newer": 2, "old": 10, "unused": 100}
    entries = {name: tmp_path / f"jit_{name}-{64 * 'a'}-cache" for name in ages}
    for name, days in ages.items():
        entries[name].write_bytes(b"12345")
        os.utime(entries[name], (time.time() - 86400 * days,) * 2)
    # Files of the user, who gave this folder: empty, damaged or old by the rules for entries.
    others = [tmp_path / name for name in ("__init__.py", "x.txt", "my-cache", "sub/a-cache")]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("" if other.suffix == ".py" else "x y")
        os.utime(other, (time.time() - 86400 * 100,) * 2)

    def left() -> set[str]:
        assert all(other.exists() for other in others)
        return {name for name, path in entries.items() if path.exists()}

    yesterday = (time.time() - 86400 * 1.1,) * 2
    (tmp_path / "tidied").touch()
    os.utime(tmp_path / "tidied", yesterday)
    cache._tidy(tmp_path, 1000)
    assert left() == {"new", "newer", "old"}
    # Not twice a day.
    cache._tidy(tmp_path, 10)
    assert left() == {"new", "newer", "old"}
    os.utime(tmp_path / "tidied", yesterday)
    cache._tidy(tmp_path, 10)
    assert left() == {"new", "newer"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["template", "fit"], 1),
        (["--no-compilation-cache", "template", "fit"], 0),
        (["template", "fit", "--no-compilation-cache"], 0),
    ],
)
def test_commands_use_it_unless_told_not_to(monkeypatch, capsys, arguments, expected) -> None:
    calls = []
    monkeypatch.setattr(entry, "compilation_cache", lambda: calls.append(1))
    assert entry.main(arguments) == 0
    assert len(calls) == expected
