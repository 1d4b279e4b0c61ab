"""The npm packages of the web page, and a page with a small model."""

import os
import shutil
import subprocess

import pytest

from keraslm.export.to_web.browser import find_browser
from keraslm.export.to_web.exporter import PACKAGES, web


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """The real packages: of KERASLM_NODE_MODULES, or from npm."""
    if find_browser() is None:
        pytest.skip("no Chromium")
    if "KERASLM_NODE_MODULES" in os.environ:
        return os.environ["KERASLM_NODE_MODULES"]
    if shutil.which("npm") is None:
        pytest.skip("no npm; set KERASLM_NODE_MODULES")
    folder = tmp_path_factory.mktemp("npm")
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    command = ["npm", "install", "--ignore-scripts", "--prefix", str(folder), *wanted]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("npm cannot install the packages; set KERASLM_NODE_MODULES")
    return folder / "node_modules"


@pytest.fixture(scope="session")
def site(lm, packages, tmp_path_factory):
    return web(lm, tmp_path_factory.mktemp("web") / "site", packages=packages, verify=False)
