"""What users get: the wheel, and a README whose code runs."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_works_outside_the_tree(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names} == {
        "keraslm",
        wheel.name.rsplit("-", 3)[0] + ".dist-info",
    }
    assert "keraslm/py.typed" in names and "keraslm/pretrained/demo/model.safetensors" in names
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    program = (
        f"import keraslm; assert keraslm.__file__.startswith({str(site)!r}), keraslm.__file__;"
        "print(keraslm.from_pretrained('demo').generate('The city of', max_new_tokens=5))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.stdout.startswith("The city of"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_script_of_the_readme_runs(name, tmp_path, articles, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
    (tmp_path / "my_texts").mkdir()
    for i, article in enumerate(articles):
        (tmp_path / "my_texts" / f"{i}.txt").write_text(article, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    quick = code.replace("vocab_size=4096", "vocab_size=1024").replace("epochs=3", "epochs=1")
    assert quick.count("1024") == 1 and quick != code
    exec(compile(quick, name, "exec"), {})
    assert "Once upon a time" in capsys.readouterr().out
    assert (tmp_path / "saved_models" / "mine" / "model.tflite").is_file()
    assert (tmp_path / "saved_models" / "mine" / "saved_model").is_dir()


def test_the_installed_model_is_small():
    folder = ROOT / "keraslm" / "pretrained" / "demo"
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 2_000_000
