"""A text generator as a folder that any static web server can host."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keraslm._scripts import beginnings
from keraslm._types import StrPath
from keraslm._version import __version__
from keraslm.export.facts import prompt_template
from keraslm.export.manifest import exported
from keraslm.export.proof import prove
from keraslm.export.to_tflite.exporter import PREFILL_LENGTHS, convert
from keraslm.export.to_web.browser import find_browser
from keraslm.export.to_web.proof import verify_web
from keraslm.export.to_web.readable import check_tokenizer
from keraslm.generation.config import stated_length
from keraslm.litert.quantization import check_kind

FORMAT_VERSION = 1
PAGE = Path(__file__).parent / "page"
PAGE_FILES = (
    "index.html", "app.js", "words.js", "style.css", "serve.py",
    "keraslm.js", "sampling.js", "tokenizer.js", "stream.js", "spacing.js",
)  # fmt: skip
PARTS = (*PAGE_FILES, "README.md", "model.json", "model.tflite", "tokenizer.json", "vendor/")

# All three are under Apache-2.0.
PACKAGES = {
    "@litertjs/core": "2.5.3",
    "@litertjs/wasm-utils": "2.5.3",
    "@huggingface/tokenizers": "0.2.0",
}
# Builds of the runtime: with relaxed SIMD, with threads too, and for older browsers.
WASM = ("litert_wasm_internal", "litert_wasm_threaded_internal", "litert_wasm_compat_internal")
VENDORED = {
    "@litertjs/core": {
        "dist/index.js": "index.js",
        **{f"wasm/{name}.{end}": f"wasm/{name}.{end}" for name in WASM for end in ("js", "wasm")},
    },
    "@litertjs/wasm-utils": {"dist/index.js": "index.js"},
    "@huggingface/tokenizers": {"dist/tokenizers.min.mjs": "tokenizers.js"},
}
# So that a page needs no import map.
IMPORT = '"@litertjs/wasm-utils"'
IMPORT_PATH = '"../litertjs-wasm-utils/index.js"'

README = """# {name}: a language model in the browser

Made with keraslm {version}. These files are all that it needs: nothing is loaded from elsewhere,
and what is written into the page stays in the browser.

    python serve.py            # then open http://127.0.0.1:8000/

Any static server will do, such as `python -m http.server`; opening `index.html` as a file will not,
because browsers load no modules from files. Without these two headers the model runs on one
thread, with them on several (`serve.py` sends them):

    Cross-Origin-Opener-Policy: same-origin
    Cross-Origin-Embedder-Policy: require-corp

A server should send `.js` as `text/javascript` and `.wasm` as `application/wasm`.

## In your own page

```html
<script type="module">
  import {{ load }} from "./keraslm.js";
  const lm = await load("./");
  for await (const piece of lm.generate("Once upon a time", {{ maxNewTokens: 40 }}))
    document.body.append(piece);
</script>
```

Settings: `maxNewTokens` or `maxLength` (which counts the prompt too), `temperature` (0: greedy),
`topK`, `topP`, `minP`, `repetitionPenalty`, `seed`, `stopIds`; those not given are those of
`model.json`. `stop` is a string or strings at which to stop; with `allowControlTokens: false` the
name of a control token in a prompt is text like any other. The same settings and seed give the
same text, in the same pieces, as `TextGenerator.stream` in Python. A Content-Security-Policy needs
`script-src 'self' 'wasm-unsafe-eval'`.

## In `vendor/`

{packages}

In `vendor/litertjs-core/index.js` one import, of `@litertjs/wasm-utils`, was changed to a relative
path; everything else is as published on npm. Of the runtime's builds a browser loads one.
"""


def web(
    lm: Any,
    folder: StrPath,
    *,
    quantization: str | None = None,
    prefill_lengths: Sequence[int] = PREFILL_LENGTHS,
    cache_length: int | None = None,
    packages: StrPath | None = None,
    verify: str | bool = "quick",
    texts: str | Sequence[str] | None = None,
    limits: dict[str, float] | None = None,
) -> Path:
    """Export a text generator as a web page that runs it in the browser, from static files.

    The folder has the page, ``keraslm.js`` for pages of your own, the model as ``.tflite``,
    ``tokenizer.json``, and the runtime (LiteRT.js), so that nothing is loaded from elsewhere.

    Args:
        lm: a `keraslm.tasks.TextGenerator`.
        folder: the folder, replaced if it holds such an export. A bundle's own folder gets
            ``web/``.
        quantization, prefill_lengths, cache_length: as in `keraslm.export.tflite`.
        packages: a ``node_modules`` folder with the JavaScript packages of `PACKAGES`; default:
            npm downloads them.
        verify: ``"quick"`` runs it in a headless Chromium and compares it with Keras (without
            a Chromium: a warning); ``False`` does not.
        texts, limits: as in `keraslm.export.tflite`.

    Returns:
        the folder's ``Path``.

    Raises:
        ValueError: not a text generator, a tokenizer that the page cannot read, or ``packages``
            that lack a package or have another version of it.
        FileExistsError: the folder holds a page that keraslm did not write.
        RuntimeError: npm is missing or fails, or the page does not give what Keras gives. It is
            not left behind.

    Example:
        >>> keraslm.export.web(lm, "saved_models/mine", quantization="int8").name
        'mine'
    """
    if not hasattr(lm, "generator"):
        raise ValueError(
            f"lm must be a keraslm.tasks.TextGenerator; received {type(lm).__name__}. The page "
            "needs its tokenizer: TextGenerator(model, tokenizer)."
        )
    check_kind(quantization)
    check_tokenizer(lm.tokenizer)
    folder = Path(folder)
    name = folder.resolve().name
    if (folder / "config.json").is_file():
        folder = folder / "web"
    # index.html stays if it was edited: the description is what the page cannot do without.
    with exported(folder, lm, PARTS, fence="model.json", keep=["index.html"]) as place:
        new = place.new
        with _node_modules(packages) as modules:
            _copy_packages(modules, new / "vendor")
        for file in PAGE_FILES:
            shutil.copyfile(PAGE / file, new / file)
        (new / "tokenizer.json").write_text(lm.tokenizer.to_json(), encoding="utf-8")
        content = convert(lm.model, prefill_lengths, cache_length, quantization)
        (new / "model.tflite").write_bytes(content)
        _describe(lm, new, name, cache_length or lm.model.max_length)
        if verify and _has_browser(folder):
            place.keep(prove(verify_web(new, lm, verify, texts, limits), folder))
    return folder


def _has_browser(folder):
    if find_browser() is not None:
        return True
    warnings.warn(
        f"There is no Chromium: {folder} was not tried in a browser. Install one, or give "
        "verify=False.",
        stacklevel=3,
    )
    return False


def _describe(lm, folder, name, context):
    """Write ``model.json``, which the page reads first, and the README."""
    files = {}
    for file in ("model.tflite", "tokenizer.json"):
        content = (folder / file).read_bytes()
        files[file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    info = {
        "format_version": FORMAT_VERSION,
        "keraslm_version": __version__,
        "name": name,
        "context": context,
        "vocab_size": lm.model.vocab_size,
        "start_id": lm.tokenizer.bos_id,
        "prompt_template": prompt_template(lm.tokenizer),
        "clean_up_tokenization_spaces": lm.tokenizer.cleans_up,
        "generation": lm.generation_config.to_dict(),
        "max_length": stated_length(lm.generation_config, lm.stated),
        "start": _start(lm),
        "files": files,
        "packages": PACKAGES,
    }
    (folder / "model.json").write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
    lines = [
        f"- `{_short(package)}/`: {package} {version}, Apache-2.0 (`LICENSE`)"
        for package, version in PACKAGES.items()
    ]
    text = README.format(name=name, version=__version__, packages="\n".join(lines))
    (folder / "README.md").write_text(text, encoding="utf-8")


def _start(lm):
    """What the form of the page begins with, where the model states nothing itself."""
    config = lm.generation_config
    stated = (config.temperature, config.top_k, config.top_p, config.min_p)
    prompts = beginnings(lm.sample or [], 1)
    return {
        "prompt": prompts[0] if prompts else "",
        # Small models repeat themselves where they always take the likeliest token.
        **({"temperature": 0.8, "top_k": 40} if set(stated) == {None} else {}),
    }


# === Packages ===


def _short(package):
    """``litertjs-core`` for ``@litertjs/core``."""
    return package.removeprefix("@").replace("/", "-")


@contextlib.contextmanager
def _node_modules(packages):
    """The folder of the packages: the given one, or one that npm fills."""
    if packages is not None:
        yield Path(packages)
        return
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *wanted]
    advice = f"Run '{' '.join(command)}' where it works, and give packages='node_modules'."
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError(f"The page needs JavaScript packages, and there is no npm. {advice}")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, *command[1:], "--loglevel=error", "--prefix", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines()]
            reason = ", ".join(lines[:4]) or "no message"
            raise RuntimeError(f"npm could not install the JavaScript packages: {reason}. {advice}")
        yield Path(folder) / "node_modules"


def _copy_packages(modules, vendor):
    """Copy what the page needs of the packages, with their licence."""
    for package, files in VENDORED.items():
        source, target = modules / package, vendor / _short(package)
        _check_version(source, package)
        for old, new in {**files, "package.json": "package.json"}.items():
            (target / new).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / old, target / new)
    # The packages of LiteRT.js name the licence but do not hold its text.
    shutil.copyfile(modules / "@huggingface/tokenizers" / "LICENSE", vendor / "LICENSE")
    index = vendor / "litertjs-core" / "index.js"
    text = index.read_text(encoding="utf-8")
    if text.count(IMPORT) != 1:
        raise ValueError(
            f"{modules}/@litertjs/core does not import {IMPORT} once. Install it anew."
        )
    index.write_text(text.replace(IMPORT, IMPORT_PATH), encoding="utf-8")


def _check_version(source, package):
    try:
        found = json.loads((source / "package.json").read_text(encoding="utf-8"))["version"]
    except OSError:
        found = "none"
    if found != PACKAGES[package]:
        raise ValueError(
            f"packages must have {package} {PACKAGES[package]}; received {found} in {source}. "
            f"Run 'npm install --ignore-scripts {package}@{PACKAGES[package]}' there."
        )
