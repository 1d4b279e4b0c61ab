"""Places that are hard to write to, and files that are not ours."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from keraslm._files import (
    BusyError,
    Writer,
    read_whole,
    repair,
    replaced_file,
    reserved,
    reserved_file,
    stage,
    write_json,
)

NAMES = ("config.json", "model.safetensors", "README.md")
FENCES = ("config.json", "saved_model/saved_model.pb")


def save(path, number=1, names=NAMES, stale=(), **options):
    with Writer(path, names, fences=FENCES, **options) as writer:
        for name in names:
            (writer.new / name).parent.mkdir(parents=True, exist_ok=True)
            (writer.new / name).write_text(f"{number} {name}")
        return writer.commit(stale)


def is_clean(folder):
    return not [*Path(folder).rglob(stage.NAME + "*")]


def text(*parts):
    return Path(*parts).read_text()


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    """All tests work in a folder of their own, and leave no stage in it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert is_clean(tmp_path)


# === What is not ours ===


def test_files_links_and_pipes_of_a_user_stay(inside):
    home = inside / "home"
    (home / "thesis").mkdir(parents=True)
    (home / "thesis" / "a.tex").write_text("years of work")
    (home / "etc").symlink_to("/etc")
    (home / "broken").symlink_to("nowhere")
    os.mkfifo(home / "pipe")
    before = {p.name: os.lstat(p) for p in home.iterdir()}
    inode = home.stat().st_ino
    save(home)
    save(home, 2)
    assert {p.name: os.lstat(p).st_ino for p in home.iterdir() if p.name in before} == {
        name: status.st_ino for name, status in before.items()
    }
    assert (home / "etc").is_symlink() and text(home, "thesis/a.tex") == "years of work"
    assert home.stat().st_ino == inode and text(home, "config.json") == "2 config.json"


@pytest.mark.parametrize(
    "make",
    [
        lambda p: p.write_text("{}"),
        os.mkfifo,
        os.mkdir,
        lambda p: p.symlink_to("/etc/passwd"),
        lambda p: p.symlink_to("nowhere"),
    ],
    ids=["file", "pipe", "folder", "link", "dangling"],
)
def test_a_name_that_somebody_else_has_is_refused_before_the_work(inside, make):
    theirs = inside / "theirs"
    theirs.mkdir()
    make(theirs / "config.json")
    with pytest.raises(FileExistsError, match="config.json"):
        Writer(theirs, NAMES)


def test_the_manifest_of_a_web_app_is_not_touched(inside):
    app = inside / "app"
    app.mkdir()
    (app / "manifest.json").write_text('{"name": "My web app"}')
    with pytest.raises(FileExistsError, match=r"manifest\.json was not written by keraslm"):
        save(app)
    assert os.listdir(app) == ["manifest.json"]


def test_files_in_a_subfolder_that_is_written_whole(inside):
    save(inside / "b")
    (inside / "b" / "web").mkdir()
    (inside / "b" / "web" / "mine.html").write_text("mine")
    with pytest.raises(FileExistsError, match=r"mine\.html was not written by keraslm"):
        Writer("b", ["web/"])


def test_edits_of_the_user(inside):
    save("b")
    exports = ("model.tflite", "saved_model/saved_model.pb", "saved_model/variables/v")
    save("b", 1, exports)
    Path("b/README.md").write_text("my card")
    Path("b/saved_model/mine.txt").write_text("mine")
    Path("b/config.json").write_text("by hand")
    report = save("b", 2, stale=("model.tflite", "saved_model"))
    assert report.kept == ["README.md"] and text("b/README.md") == "my card"
    (aside,) = report.set_aside
    assert text("b", aside) == "by hand" and text("b/config.json") == "2 config.json"
    assert report.removed[0] == "saved_model/saved_model.pb", "fences go first"
    assert [p.name for p in Path("b/saved_model").iterdir()] == ["mine.txt"]
    assert not Path("b/model.tflite").exists()


def test_what_did_not_change_is_not_written(inside):
    save("b")
    before = {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in Path("b").iterdir()}
    assert sorted(save("b").unchanged) == sorted(NAMES)
    assert before == {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in Path("b").iterdir()}


def test_an_edited_export_of_older_weights_stays(inside):
    save("b")
    save("b", 1, ["model.tflite"])
    Path("b/model.tflite").write_text("with metadata of mine")
    assert save("b", 2, stale=["model.tflite"]).removed == ["model.tflite"]
    assert text("b/model.tflite") == "with metadata of mine"


def test_a_folder_from_before_there_were_lists(inside):
    old = inside / "old"
    (old / "saved_model").mkdir(parents=True)
    for name in (*NAMES, "model.tflite", "saved_model/saved_model.pb"):
        (old / name).write_text("{}")
    (old / "config.json").write_text('{"format_version": 1, "keraslm_version": "0.1"}')
    entry = {"target": "tflite", "bytes": 2}
    (old / "manifest.json").write_text(json.dumps({"model.tflite": entry}))
    (old / "notes.txt").write_text("mine")
    with Writer(old, ["report.json"]) as writer:
        (writer.new / "report.json").write_text("{}")
        writer.commit()
    assert json.loads(text(old, "manifest.json"))["exports"] == {"model.tflite": entry}
    report = save(old, 2, stale=("model.tflite", "saved_model"))
    assert not (old / "model.tflite").exists() and not (old / "saved_model").exists()
    assert text(old, "notes.txt") == "mine" and not report.set_aside
    assert "exports" not in json.loads(text(old, "manifest.json"))


# === Places ===


def test_links_to_folders_are_followed_and_stay(inside):
    Path("real").mkdir()
    Path("link").symlink_to("real")
    save("link")
    assert Path("link").is_symlink() and Path("real/config.json").is_file()
    Path("dangling").symlink_to("nothing")
    with pytest.raises(FileNotFoundError, match="link to nothing"):
        save("dangling")
    Path("loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        save("loop")


def test_the_current_folder_and_long_names(inside, monkeypatch):
    Path("here").mkdir()
    monkeypatch.chdir("here")
    save(".")
    save(".", 2)
    assert text("config.json") == "2 config.json"
    save("n" * 255)
    with pytest.raises(OSError, match="long"):
        save("n" * 256)


def test_a_folder_that_appears_meanwhile_is_written_into(inside):
    with Writer("new", NAMES, fences=FENCES) as writer:
        for name in NAMES:
            (writer.new / name).write_text(name)
        Path("new").mkdir()
        Path("new/mine.txt").write_text("mine")
        writer.commit()
    assert text("new/mine.txt") == "mine" and text("new/config.json") == "config.json"


def test_a_work_that_fails_leaves_nothing(inside):
    save("b")
    for path in ("b", "new"):
        with pytest.raises(ZeroDivisionError), Writer(path, NAMES) as writer:
            (writer.new / "config.json").write_text("half")
            1 / 0  # noqa: B018
    assert not Path("new").exists() and text("b/config.json") == "1 config.json"


def test_modes_follow_the_umask_and_what_is_there(inside):
    before = os.umask(0o077)
    try:
        save("private")
        assert os.stat("private/config.json").st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    os.umask(0o022)
    save("private", 2)
    assert os.stat("private/config.json").st_mode & 0o777 == 0o600
    assert os.stat("private").st_mode & 0o777 == 0o700
    save("public")
    assert os.stat("public/config.json").st_mode & 0o777 == 0o644
    os.umask(before)


def test_the_space_is_known_before_the_work(inside):
    with pytest.raises(OSError, match="bytes left; 1,000,000,000,000,000 are needed"):
        Writer("big", NAMES, need=10**15)
    assert not Path("big").exists()


# Run in a file system of its own, as root: mounts, full disks, other users.
AS_ROOT = """
import contextlib, os, subprocess
from pathlib import Path
import pytest
from test_writer import NAMES, save, text
from keraslm._files import Writer, read_whole, replaced_file


def mount(at, size):
    at.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", at], check=True)


def as_nobody(function, *args):
    pid = os.fork()
    if pid == 0:
        os.setgid(65534), os.setuid(65534)
        try:
            function(*args)
            os._exit(0)
        except OSError as error:
            print(function.__name__, args, error, flush=True)
            os._exit(3)
        except BaseException as error:
            print(function.__name__, args, repr(error), flush=True)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


root = Path.cwd()
root.chmod(0o755)
own = root / "unwritable" / "own"
own.mkdir(parents=True)
os.chown(own, 65534, 65534)
assert as_nobody(save, own) == 0 and as_nobody(save, own, 2) == 0
assert as_nobody(save, root / "unwritable" / "new") == 3
save("ours")
assert as_nobody(save, root / "ours") == 3

mount(root / "mnt", "20m")
save("mnt")
save("mnt", 2)
assert text("mnt/config.json") == "2 config.json"

mount(root / "full", "300k")
save("full")
for name in ("full", "full/new"):
    with contextlib.suppress(OSError), Writer(name, NAMES) as writer:
        (writer.new / "model.safetensors").write_bytes(b"x" * 10**6)
        raise AssertionError("there was space")
with contextlib.suppress(OSError), replaced_file("full/config.json") as new:
    new.write_bytes(b"x" * 10**6)
    raise AssertionError("there was space")
assert text("full/config.json") == "1 config.json"
save("full", 2)
assert text("full/config.json") == "2 config.json"

mount(root / "parent" / "web", "1m")
with pytest.raises(FileExistsError, match="mount point"):
    Writer("parent", ["web/"])
(root / "host").mkdir()
(root / "host" / "f").write_text("host")
(root / "bound" / "web").mkdir(parents=True)
(root / "bound" / "f").write_text("")
for name, source in (("web", "host"), ("f", "host/f")):  # as docker -v does, from the same disk
    subprocess.run(["mount", "--bind", source, root / "bound" / name], check=True)
with pytest.raises(FileExistsError, match="mount point"):
    Writer("bound", ["web/"])
with pytest.raises(ValueError, match="mount point"), replaced_file("bound/f"):
    pass
save("bound/web")
assert (root / "host" / "config.json").is_file()

for read in (False, True):  # in /tmp, a file of another user's
    shared = root / f"shared{read}"
    shared.mkdir()
    (shared / "f").write_text("theirs")
    (shared / "f").chmod(0o666)
    shared.chmod(0o1777)

    def over(file=shared / "f"):
        with replaced_file(file) as new:
            new.write_text("mine")

    assert as_nobody(over) == 3 and text(shared, "f") == "theirs"

# A reader without the right to repair finds the new files where they are.
half = root / "half"
save(half)
(half / ".keraslm-new" / "new").mkdir(parents=True)
(half / ".keraslm-new" / "owner").write_text("")
(half / ".keraslm-new" / "new" / "config.json").write_text("9")
(half / ".keraslm-new" / "journal.json").write_text(
    '{"move": ["config.json"], "fences": ["config.json"], "loose": [], "remove": {}, "was": {}}'
)
(half / "config.json").unlink()


def look():
    found = read_whole(half, lambda at: (text(at, "config.json"), text(at, "README.md")))
    assert found == ("9", "1 README.md"), found


assert as_nobody(look) == 0 and (half / ".keraslm-new").is_dir()
look()
assert text(half, "config.json") == "9" and not (half / ".keraslm-new").exists()
"""


def test_mounts_full_disks_and_other_users(inside):
    tries = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True) \
        if shutil.which("unshare") else None  # fmt: skip
    if tries is None or tries.returncode or os.geteuid():
        pytest.skip("needs root and a file system of its own")
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with tempfile.TemporaryDirectory() as place:  # others may not look into tmp_path
        done = subprocess.run(
            ["unshare", "-m", sys.executable, "-c", AS_ROOT],
            cwd=place, env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


# === Others at work ===


def test_a_second_writer_is_refused_or_waits(inside, monkeypatch):
    save("b")
    errors = []

    def second(path):
        try:
            save(path, 3)
        except OSError as error:
            errors.append(error)

    monkeypatch.setattr(stage, "WAIT", 0.0)
    monkeypatch.setattr(stage.hold, "__defaults__", (0.0,))
    for path in ("b", "new"):
        with Writer(path, NAMES, fences=FENCES) as first:
            other = threading.Thread(target=second, args=(path,))
            other.start()
            other.join()
            for name in NAMES:
                (first.new / name).write_text("7")
            first.commit()
        assert isinstance(errors.pop(), BusyError) and text(path, "config.json") == "7"
    monkeypatch.setattr(stage.hold, "__defaults__", (60.0,))
    with Writer("b", NAMES, fences=FENCES) as first:
        other = threading.Thread(target=second, args=("b",))
        other.start()
    other.join()
    assert not errors and text("b/config.json") == "3 config.json"


def test_a_reservation_is_for_all_that_its_thread_writes(inside):
    with reserved("b", NAMES):
        save("b")
        save("b", 2, ["model.tflite"])
        assert text("b/config.json") == "1 config.json"
    assert is_clean(".")


def test_a_child_process_does_not_end_what_its_parent_writes(inside):
    with Writer("b", NAMES) as writer:
        pid = os.fork()
        if pid == 0:
            writer.close()
            os._exit(0)
        os.waitpid(pid, 0)
        (writer.new / "config.json").write_text("1")
        writer.commit()
    assert text("b/config.json") == "1"


def test_somebodys_folder_under_the_name_of_the_stage(inside):
    (Path("odd") / stage.NAME).mkdir(parents=True)
    (Path("odd") / stage.NAME / "mine").write_text("x")
    with pytest.raises(FileExistsError, match="not a staging folder"):
        save("odd")
    assert text("odd", stage.NAME, "mine") == "x"
    shutil.rmtree("odd")


# === Hostile folders ===


@pytest.mark.parametrize(
    "name", ["../precious", "/etc/precious", "sub/../../precious", "link/precious"]
)
def test_a_journal_or_manifest_cannot_name_what_is_outside(inside, name):
    Path("precious").write_text("mine")
    Path("outside").mkdir()
    Path("outside/precious").write_text("mine")
    save("b")
    Path("b/link").symlink_to("../outside")
    manifest = json.loads(text("b/manifest.json"))
    manifest["files"][name] = None
    Path("b/manifest.json").write_text(json.dumps(manifest))
    place = Path("b", stage.NAME)
    (place / "new").mkdir(parents=True)
    (place / "owner").write_text("")
    for key, value in (("remove", {name: None}), ("move", [name])):
        journal = {"move": [], "fences": [], "loose": [], "remove": {}, "was": {}, key: value}
        place.mkdir(exist_ok=True)
        (place / "journal.json").write_text(json.dumps(journal))
        repair(Path("b").resolve())
        save("b", 2, stale=[name.partition("/")[0]])
    assert text("precious") == text("outside/precious") == "mine"


# === Single files ===


def test_a_file_is_replaced_through_its_link(inside):
    Path("far").mkdir()
    Path("far/x.tflite").write_text("0")
    Path("x.tflite").symlink_to("far/x.tflite")
    with replaced_file("x.tflite") as new:
        assert new.suffix == ".tflite"
        new.write_text("1")
    assert Path("x.tflite").is_symlink() and text("far/x.tflite") == "1"
    os.mkfifo("pipe")
    for bad in ("far", "pipe"):
        with pytest.raises(ValueError, match=bad), replaced_file(bad):
            pass
    with contextlib.suppress(ZeroDivisionError), replaced_file("x.tflite") as new:
        new.write_text("2")
        1 / 0  # noqa: B018
    assert text("x.tflite") == "1"


def test_a_json_file_is_listed(inside):
    save("b")
    write_json(Path("b/report.json"), {"好": 1})
    assert json.loads(text("b/report.json")) == {"好": 1}
    assert set(json.loads(text("b/manifest.json"))["files"]) == {*NAMES, "report.json"}
    assert read_whole("b", lambda at: text(at, "report.json")) == text("b/report.json")


def test_a_reserved_file_is_known_to_be_writable_and_written_meanwhile(inside):
    Path("folder").mkdir()
    with pytest.raises(ValueError, match="is a folder"), reserved_file("folder"):
        pass
    with reserved_file("state.npz"):
        for text_of in "12":
            with replaced_file("state.npz") as new:
                new.write_text(text_of)
            assert text("state.npz") == text_of


def test_a_writer_may_be_ended_by_another_thread(inside):
    writer = Writer("b", NAMES)
    other = threading.Thread(target=writer.close)
    other.start()
    other.join()
    assert is_clean(".")
    save("b")
    assert text("b/config.json") == "1 config.json"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_a_link_is_not_written_through(inside, link):
    save("m")
    Path("thesis.txt").write_text("years of work")
    Path("m", stage.NAME).mkdir()
    link(inside / "thesis.txt", Path("m", stage.NAME, "owner"))
    assert read_whole("m", lambda at: text(at, "config.json")) == "1 config.json"
    with pytest.raises(FileExistsError, match="not a staging folder"):
        save("m")
    assert text("thesis.txt") == "years of work"
    shutil.rmtree("m")


def test_a_stage_of_links_is_not_followed(inside):
    save("m")
    Path("elsewhere").mkdir()
    Path("elsewhere/a.txt").write_text("mine")
    place = Path("m", stage.NAME)
    place.mkdir()
    (place / "new").symlink_to(inside / "elsewhere")
    journal = {"move": ["a.txt"], "fences": [], "loose": [], "remove": {}, "was": {}}
    (place / "journal.json").write_text(json.dumps(journal))
    repair(Path("m").resolve())
    assert text("elsewhere/a.txt") == "mine" and not Path("m/a.txt").exists()
    shutil.rmtree("m")


def test_a_journal_names_only_what_is_listed_and_none_stands_beside(inside):
    journal = {"move": [], "fences": [], "loose": [], "remove": {"thesis.txt": None}, "was": {}}
    Path("thesis.txt").write_text("mine")
    beside = Path(stage.NAME + "-deadbeef")
    for place in (beside, Path("m", stage.NAME)):
        place.mkdir(parents=True)
        (place / "journal.json").write_text(json.dumps(journal))
    Path("m/thesis.txt").write_text("mine")
    save("new")
    save("m")
    assert text("thesis.txt") == text("m/thesis.txt") == "mine"
    shutil.rmtree(beside)


def test_pipes_and_very_long_manifests_end(inside):
    Path("p").mkdir()
    os.mkfifo("p/manifest.json")
    with pytest.raises(FileExistsError, match=r"manifest\.json"):
        save("p")
    save("m")
    files = {f"name-{i}": None for i in range(20_000)}
    Path("m/manifest.json").write_text(json.dumps({"keraslm": 1, "files": files}))
    assert read_whole("m", lambda at: text(at, "config.json")) == "1 config.json"


def test_a_folder_is_read_through_a_link_as_by_its_name(inside):
    save("m")
    Path("link").symlink_to("m")
    seen = []
    read_whole("link", seen.append)
    assert seen == [inside / "m"]
    write_json(Path("link/report.json"), {})
    assert "report.json" in json.loads(text("m/manifest.json"))["files"]


def test_every_edit_is_set_aside(inside):
    save("b")
    kept = []
    for edit in ("1 CONFIG.json", "edit two", "edit three"):  # the first of the same size
        Path("b/config.json").write_text(edit)
        os.utime("b/config.json", (0, 0))
        kept += save("b", len(kept) + 5).set_aside
    assert [text("b", name) for name in kept] == ["1 CONFIG.json", "edit two", "edit three"]


def test_files_of_a_user_in_the_exports_of_an_old_folder_stay(inside):
    for name in ("web/holiday.jpg", "web/index.html", "saved_model/notes.txt"):
        Path("old", name).parent.mkdir(parents=True, exist_ok=True)
        Path("old", name).write_text("x")
    Path("old/config.json").write_text('{"keraslm_version": "0.1"}')
    save("old", 2, stale=("web", "saved_model"))
    assert text("old/web/holiday.jpg") == text("old/saved_model/notes.txt") == "x"
    assert not Path("old/web/index.html").exists()


@pytest.mark.parametrize("name", ["", "a\0b", "half \ud83d", None, 5, b"x"])
def test_what_is_no_name_is_refused(inside, name):
    for write in (Writer, lambda path: replaced_file(path).__enter__()):
        with pytest.raises(ValueError, match="must be the name of a file or folder"):
            write(name)
