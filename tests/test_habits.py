"""How the tests are run: what may be skipped, and what ``.ci/run`` makes of its parts."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CI = TESTS.parent / ".ci" / "run"

# === Skips ===


def run_pytest(folder, code, config=os.devnull):
    """What pytest says to a file of tests, in a process of its own, under our conftest."""
    for name in ("conftest.py", "skips.txt"):
        shutil.copy(TESTS / name, folder)
    (folder / "test_it.py").write_text(code, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "-q", "-ra"]
    return subprocess.run(
        [*command, "-c", str(config), "--rootdir", str(folder), str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_skip_with_a_known_reason_is_printed_and_passes(tmp_path):
    done = run_pytest(
        tmp_path,
        "import pytest\n"
        "def test_one():\n    pytest.skip('no Chromium')\n"
        "def test_two():\n    pytest.importorskip('jax_of_no_one', reason='jax is not installed')\n"
        "@pytest.mark.skipif(True, reason='mediapipe is not installed')\n"
        "def test_three():\n    raise AssertionError\n"
        "@pytest.mark.xfail(reason='any', strict=True)\n"
        "def test_four():\n    raise AssertionError\n",
    )
    assert done.returncode == 0, done.stdout
    assert "3 skipped, 1 xfailed" in done.stdout.splitlines()[-1]
    for reason in ("no Chromium", "jax is not installed", "mediapipe is not installed"):
        assert reason in done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "def test_one():\n    pytest.skip('not today')\n",
        "@pytest.mark.skip(reason='not today')\ndef test_one():\n    pass\n",
        "@pytest.fixture\ndef it():\n    pytest.skip('not today')\ndef test_one(it):\n    pass\n",
        "pytest.skip('not today', allow_module_level=True)\n",
        "pytest.importorskip('os_of_no_one', reason='not today')\n",
    ],
    ids=["call", "mark", "fixture", "module", "import"],
)
def test_a_skip_with_another_reason_fails_the_run(tmp_path, code):
    done = run_pytest(tmp_path, "import pytest\n" + code)
    assert done.returncode not in (0, 5), done.stdout
    assert "the reason is not in tests/skips.txt: not today" in done.stdout


# === Warnings ===

SETUP = TESTS.parent / "setup.cfg"
KINDS = ["DeprecationWarning", "FutureWarning", "UserWarning", "RuntimeWarning", "ResourceWarning"]
WARN = "    warnings.warn('old', kind)\n"


@pytest.fixture
def filters(tmp_path):
    """Our list of warnings that are no errors, for a run of pytest in the folder."""
    if not SETUP.is_file():
        pytest.skip("not a clone of the repository")
    config = configparser.ConfigParser()
    config.read(SETUP, encoding="utf-8")
    config = config["tool:pytest"]["filterwarnings"].splitlines()
    lines = [f"    {line}" for line in config if line]
    path = tmp_path / "pytest.ini"
    path.write_text("\n".join(["[pytest]", "filterwarnings =", *lines]), encoding="utf-8")
    return path


def test_a_warning_about_our_code_fails_the_test(tmp_path, filters):
    code = f"import pytest, warnings\n@pytest.mark.parametrize('kind', [{', '.join(KINDS)}])\n"
    done = run_pytest(tmp_path, f"{code}def test_one(kind):\n{WARN}", filters)
    assert f"{len(KINDS)} failed" in done.stdout.splitlines()[-1]
    assert all(f"{kind}: old" in done.stdout for kind in KINDS)


def test_a_file_that_is_left_open_fails_the_test(tmp_path, filters):
    code = "import gc\ndef test_one():\n    open(__file__, encoding='utf-8')\n    gc.collect()\n"
    done = run_pytest(tmp_path, code, filters)
    assert "1 failed" in done.stdout.splitlines()[-1]
    assert "unclosed file" in done.stdout


def test_only_deprecations_in_other_packages_are_no_failure(tmp_path, filters):
    package = tmp_path / "package_of_no_one.py"
    package.write_text(f"import warnings\ndef call(kind):\n{WARN}", encoding="utf-8")
    code = f"""import package_of_no_one, pytest
@pytest.mark.parametrize("kind", [{", ".join(KINDS)}])
def test_one(kind):
    package_of_no_one.call(kind)
"""
    done = run_pytest(tmp_path, code, filters)
    assert "3 failed, 2 passed" in done.stdout.splitlines()[-1]
    assert "DeprecationWarning: old" not in done.stdout
    assert "FutureWarning: old" not in done.stdout


# === .ci/run ===

MAKE = """#!/usr/bin/env bash
# Instead of make: what the test wants each target to do.
case "$1" in
  */.installed-dev) exit ${ENVIRONMENT:-0} ;;
  */.installed-peers) echo "ERROR: No matching distribution found for torch"; exit ${PACKAGES:-0} ;;
  test) echo "${TESTS_SAY:-7 passed, 2 skipped in 3.21s}" ;;
  peers) echo "${PEERS_SAY:-5 passed in 1.00s}" ;;
esac
case "$1" in lint) exit ${LINT:-0} ;; types) exit ${TYPES:-0} ;;
  test) [ "${TESTS:-0}" = 0 ] || echo "make: *** [test] Error 1"; exit ${TESTS:-0} ;;
  docs) exit ${DOCS:-0} ;;
  peers) exit ${PEERS:-0} ;; esac
"""


@pytest.fixture
def ci(tmp_path):
    """Run ``.ci/run`` with a ``make`` that does what variables say; its lines and exit code."""
    if not CI.is_file():
        pytest.skip("not a clone of the repository")
    (tmp_path / "make").write_text(MAKE, encoding="utf-8")
    (tmp_path / "make").chmod(0o755)

    def run(**variables):
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [str(CI)], capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "PATH": path, **variables},
        )  # fmt: skip
        return done.stdout.splitlines(), done.returncode

    return run


def test_ci_prints_the_time_of_each_part_and_ends_with_the_line_of_the_tests(ci):
    lines, code = ci()
    assert code == 0
    assert lines[-1] == "7 passed, 2 skipped in 3.21s"
    times = [line.split()[0] for line in lines if line.endswith(" s  ok")]
    assert times == [
        "environment", "lint", "types", "tests", "docs-packages", "docs", "peers-packages", "peers"
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["LINT", "TYPES", "TESTS", "DOCS", "PEERS", "ENVIRONMENT"])
def test_any_part_that_fails_fails_ci(ci, part):
    lines, code = ci(**{part: "2"})
    assert code == 1
    assert any(line.endswith(" s  failed") for line in lines)


def test_a_part_runs_though_one_before_it_failed(ci):
    lines, _ = ci(LINT="1", TYPES="1")
    assert lines[-1] == "7 passed, 2 skipped in 3.21s"


def test_the_last_line_is_that_of_the_run_that_failed(ci):
    lines, _ = ci(PEERS="2", PEERS_SAY="1 failed, 4 passed in 1.00s")
    assert lines[-1] == "1 failed, 4 passed in 1.00s"
    lines, _ = ci(TESTS="2", TESTS_SAY="1 failed, 6 passed in 63.21s (0:01:03)")
    assert lines[-1] == "1 failed, 6 passed in 63.21s (0:01:03)"


def test_peers_that_cannot_be_installed_are_left_out_with_the_reason(ci):
    lines, code = ci(PACKAGES="2")
    assert code == 0
    assert "  ERROR: No matching distribution found for torch" in lines
    assert not any(line.startswith("=== peers") and line.endswith("peers") for line in lines)
    assert lines[-1] == "7 passed, 2 skipped in 3.21s"


def test_no_tests_is_a_failure_of_the_tests(ci):
    lines, code = ci(TESTS="2", TESTS_SAY="no tests ran in 0.01s")
    assert (code, lines[-1]) == (1, "no tests ran in 0.01s")
