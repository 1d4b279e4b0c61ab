"""Readers: every kind of source, every error."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import threading
import warnings
import zipfile

import pytest

from keraslm.data import decoding, wikipedia_sample
from keraslm.data.readers import read_blocks, read_texts

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">
<siteinfo><sitename>Test</sitename></siteinfo>
<page><title>A</title><ns>0</ns><id>1</id><revision><text>'''A''' is first.</text></revision></page>
<page><title>B</title><ns>0</ns><id>2</id><redirect title="A"/>
<revision><text>Redirected by its element.</text></revision></page>
<page><title>C</title><ns>0</ns><id>3</id><revision><text>#REDIRECT [[A]]</text></revision></page>
<page><title>Talk:A</title><ns>1</ns><id>4</id><revision><text>Talk.</text></revision></page>
<page><title>D</title><ns>0</ns><id>5</id><revision><text>D is ''last''.</text></revision></page>
</mediawiki>"""


def test_import_loads_no_heavy_library():
    code = (
        "import sys, keraslm.data;"
        "sys.exit(sorted({'tensorflow', 'keras', 'gensim'} & set(sys.modules)) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# === Sources ===


def test_list_and_iterator():
    assert list(read_texts(["a", " \n", "", "b"])) == ["a", "b"]
    assert list(read_texts(text for text in "ab")) == ["a", "b"]


def test_file_is_one_document_or_split(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one\ntwo\n\nthree\n", encoding="utf-8")
    assert list(read_texts(file)) == ["one\ntwo\n\nthree\n"]
    assert list(read_texts(str(file), separator="\n\n")) == ["one\ntwo", "three"]
    assert list(read_texts(file, separator="\n")) == ["one", "two", "three"]


def test_lines_that_look_empty_end_a_paragraph(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one\n \ntwo\nmore\n\t\n\n\u3000\n  three\n\n\n", encoding="utf-8")
    assert list(read_texts(file, separator="\n\n")) == ["one", "two\nmore", "  three"]


def test_separators_of_windows(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\r\n\r\nthree")
    assert list(read_texts(tmp_path / "a.txt", separator="\r\n")) == ["one", "two", "three"]
    assert list(read_texts(tmp_path / "a.txt", separator="\r\n\r\n")) == ["one\ntwo", "three"]


def test_real_corpus_of_one_document_a_line(lee, lee_path):
    lines = lee_path.read_text(encoding="utf-8").split("\n")
    assert lee == [line for line in lines if line.strip()]
    assert len(lee) == 300


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
@pytest.mark.parametrize("separator", ["\n", "\n\n", "END"])
def test_chunk_borders_change_nothing(tmp_path, monkeypatch, chunk, separator):
    text = "\ufeffä€\U0001f600\r\nb\r\n\r\ncEENDEN\n\n\nENDENDd"
    file = tmp_path / "a.txt"
    file.write_bytes(text.encode("utf-8"))
    monkeypatch.setattr(decoding, "CHUNK", chunk)
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n")
    assert list(read_texts(file)) == [plain]
    expected = [part for part in plain.split(separator) if part.strip()]
    if separator == "\n\n":  # of three in a row, the third is of no paragraph
        expected = [part.removeprefix("\n") for part in expected]
    assert list(read_texts(file, separator=separator)) == expected


def test_encodings_and_byte_order_marks(tmp_path):
    (tmp_path / "marked.txt").write_text("naïve 文字", encoding="utf-8-sig")
    assert list(read_texts(tmp_path / "marked.txt", encoding="gb18030")) == ["naïve 文字"]
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        file = tmp_path / f"{encoding}.txt"
        file.write_bytes("naïve\n".encode(encoding))
        given = "utf-8" if encoding == "utf-8-sig" else encoding
        assert list(read_texts(file, encoding=given)) == ["naïve\n"]


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed_files(tmp_path, suffix, module):
    text = tmp_path / f"a.txt{suffix}"
    text.write_bytes(module.compress(b"one\ntwo"))
    assert list(read_texts(text, separator="\n")) == ["one", "two"]
    lines = tmp_path / f"a.jsonl{suffix}"
    lines.write_bytes(module.compress(b'{"text": "json"}'))
    assert list(read_texts(lines)) == ["json"]
    dump = tmp_path / f"wiki.xml-p1p9{suffix}"
    dump.write_bytes(module.compress(DUMP.encode()))
    assert list(read_texts(dump)) == ["A is first.", "D is last."]


def test_compression_is_told_from_the_content(tmp_path):
    (tmp_path / "a.txt").write_bytes(gzip.compress(b"one"))
    assert list(read_texts(tmp_path / "a.txt")) == ["one"]
    (tmp_path / "a.txt").write_bytes(b"BZh9 is how they begin")
    assert list(read_texts(tmp_path / "a.txt")) == ["BZh9 is how they begin"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_pipe_is_read_once(tmp_path, packed):
    text = b"one\ntwo\n" * 5000
    os.mkfifo(tmp_path / "pipe")
    content = gzip.compress(text) if packed else text
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(content))
    writer.start()
    assert list(read_texts(tmp_path / "pipe")) == [text.decode()]
    writer.join()


def test_zip(tmp_path):
    file = tmp_path / "texts.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl", '{"text": "json"}')
    assert list(read_texts(file)) == list(read_blocks(file)) == ["json"]
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("some/b.txt", "text")
        archive.writestr("__MACOSX/b.txt", "hidden")
        archive.writestr("some/picture.png", "\0")
    assert list(read_texts(file)) == ["json", "text"]
    assert list(read_texts(file / "some" / "b.txt")) == ["text"]
    with pytest.raises(FileNotFoundError, match=r"No file or folder .*c\.txt"):
        read_texts(file / "some" / "c.txt")


@pytest.mark.parametrize("name", ["/etc/hostname", "../a.txt", "./a.txt", "x//a.txt"])
def test_a_zip_reads_nothing_outside_itself(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("b.txt", "text")
        archive.writestr(zipfile.ZipInfo(name), "inside")
    with pytest.raises(ValueError, match="a file with the odd name"):
        list(read_texts(tmp_path / "a.zip"))


def test_a_zip_with_one_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("a.txt", "one")
        archive.writestr("a.txt", "two")
    with pytest.raises(ValueError, match="two files with one name"):
        list(read_texts(tmp_path / "a.zip"))


def test_zip_that_cannot_be_read(tmp_path):
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text " * 99)
    content = bytearray(file.read_bytes())
    for place in (6, content.index(b"PK\1\2") + 8):
        content[place] |= 1  # as if it were encrypted
    file.write_bytes(content)
    with pytest.raises(ValueError, match="password"):
        list(read_texts(file))
    file.write_bytes(content[:60])
    with pytest.raises(ValueError, match="damaged .zip archive"):
        list(read_texts(file))


@pytest.mark.parametrize("indent", [None, 1])
def test_json_that_is_one_list_or_one_object(tmp_path, indent):
    file = tmp_path / "a.json"
    file.write_text("\n" + json.dumps([{"text": "one"}, {"text": "two"}], indent=indent), "utf-8")
    assert list(read_texts(file)) == ["one", "two"]
    file.write_text(json.dumps({"id": 1, "text": "one"}, indent=indent), "utf-8")
    assert list(read_texts(file)) == ["one"]
    file.write_text('[{"text": "one"}, {"body": "two"}]', "utf-8")
    with pytest.raises(ValueError, match=r"object 2 has no field 'text'; it has \['body'\]"):
        list(read_texts(file))


def test_tables(tmp_path):
    (tmp_path / "a.csv").write_text('id,text\r\n1,"one, ""two""\nthree"\n\n2,four\n', "utf-8")
    assert list(read_texts(tmp_path / "a.csv")) == ['one, "two"\nthree', "four"]
    assert list(read_blocks(tmp_path / "a.csv")) == ['one, "two"\nthree\nfour']
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress("句子\t类\n好，很好\t1\n".encode("gb18030")))
    assert list(read_texts(tmp_path / "a.tsv.gz", field="句子", encoding="gb18030")) == ["好，很好"]
    (tmp_path / "long.csv").write_text("text\n" + "long " * 50_000)
    assert [len(text) for text in read_texts(tmp_path / "long.csv")] == [250_000]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("id,body\n1,x\n", r"no column 'text'; its first line has \['id', 'body'\]"),
        ("id,text\n1,x\n2\n", "line 3 has 1 columns, the first line 2"),
        ("text\nHello, world\n", "line 2 has 2 columns, the first line 1. Write texts with commas"),
        ('text\n"never closed\n', "line 2 begins no row of a table"),
        ("", "has no column 'text'"),
    ],
)
def test_broken_tables(tmp_path, content, says):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=says):
        list(read_texts(tmp_path / "a.csv"))


def test_json_lines(tmp_path):
    file = tmp_path / "a.jsonl"
    records = [{"body": "café\u2028same line", "id": 1}, {"body": "two"}]
    file.write_text("\n\n".join(json.dumps(r, ensure_ascii=False) for r in records), "utf-8")
    assert list(read_texts(file, field="body")) == ["café\u2028same line", "two"]


def test_half_characters_of_json_become_replacement_characters(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a\\ud83d b \\ud83d\\ude00"}', "utf-8")
    assert list(read_texts(file)) == ["a\ufffd b \U0001f600"]


def test_folder_and_glob(tmp_path):
    for name, text in {
        "b.txt": "b",
        "sub/a.txt.gz": None,
        "a.MD": "a",
        "c.jsonl": '{"text": "c"}',
        "empty.txt": "",
        "image.png": "no text",
        ".hidden.txt": "hidden",
        ".git/x.txt": "hidden",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(b"gz") if text is None else text.encode())
    assert list(read_texts(tmp_path)) == ["a", "b", "c", "gz"]
    assert list(read_texts(f"{tmp_path}/*.txt")) == ["b"]
    assert list(read_texts(f"{tmp_path}/**/*.txt.gz")) == ["gz"]


def test_a_glob_through_a_loop_of_links(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "sub" / "b.txt").write_text("b")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    assert sorted(read_texts(f"{tmp_path}/**/*.txt")) == ["a", "b"]


def test_path_with_glob_signs_that_exists(tmp_path):
    file = tmp_path / "a[1].txt"
    file.write_text("text")
    assert list(read_texts(str(file))) == ["text"]


def test_streaming_reads_no_further_than_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "CHUNK", 4)
    file = tmp_path / "a.txt"
    file.write_bytes(b"one\ntwo\n\xff")  # the bad byte is behind
    documents = read_texts(file, separator="\n")
    assert [next(documents), next(documents)] == ["one", "two"]
    with pytest.raises(ValueError, match="byte position 8"):
        next(documents)


def test_wikipedia_extract(articles):
    assert len(articles) == 106
    assert 2_700_000 < sum(map(len, articles)) < 2_900_000
    assert articles[0].startswith("Anarchism is a political philosophy")


def test_wikipedia_extract_streams():
    assert next(read_texts(wikipedia_sample())).startswith("Anarchism")


# === Errors ===


def test_unknown_path():
    with pytest.raises(FileNotFoundError, match=r"nowhere/at/all'.*\[text\]"):
        read_texts("nowhere/at/all")  # at once, not at the first document


def test_text_given_as_path():
    with pytest.raises(FileNotFoundError, match="a list"):
        read_texts("Once upon a time " * 1000)


def test_an_empty_path():
    with pytest.raises(FileNotFoundError, match="path of the text is empty"):
        read_texts("")


def test_glob_without_match(tmp_path):
    with pytest.raises(FileNotFoundError, match="No file matches"):
        read_texts(f"{tmp_path}/*.txt")


@pytest.mark.parametrize("content", ["", " \n\n ", "\ufeff"])
def test_empty_file(tmp_path, content):
    file = tmp_path / "a.txt"
    file.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r"no text in .*a\.txt"):
        list(read_texts(file))


def test_empty_list():
    with pytest.raises(ValueError, match="no text in the list"):
        list(read_texts([]))


def test_folder_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path):  # as for whoever is not root
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="closed"):
        read_texts(tmp_path)


def test_folder_without_text(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds no text.*\.txt"):
        read_texts(tmp_path)


def test_binary_file(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "CHUNK", 4)
    file = tmp_path / "a.txt"
    file.write_bytes(b"abcdefg\0hi")
    with pytest.raises(ValueError, match=r"a\.txt is a binary file.*position 7"):
        list(read_texts(file))


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("content", "position", "cure"),
    [("schön".encode("latin-1"), 3, "encoding="), ("€".encode() + b"a\xe2\x82", 4, "damaged")],
)
def test_wrong_encoding(tmp_path, monkeypatch, chunk, content, position, cure):
    monkeypatch.setattr(decoding, "CHUNK", chunk)
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.txt is not utf-8.*position {position}\..*{cure}"):
        list(read_texts(file))


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_says_what_a_file_is(tmp_path, monkeypatch, encoding, chunk):
    monkeypatch.setattr(decoding, "CHUNK", chunk)
    file = tmp_path / "a.txt"
    file.write_bytes("第一章\r\nend".encode(encoding))
    assert list(read_texts(file)) == ["第一章\nend"]


CHINESE = "　　话说天下大势，分久必合，合久必分。周末七国分争，并入于秦。"
TRADITIONAL = "話說天下大勢，分久必合，合久必分。周末七國分爭，並入於秦。"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (CHINESE.encode("gb18030"), "Chinese in gb18030 .*encoding='gb18030'"),
        ("天地玄黄".encode("gb18030"), "encoding='gb18030'"),
        (TRADITIONAL.encode("big5"), "Chinese in big5 .*encoding='big5'"),
        ("天地玄黃".encode("big5"), "encoding='big5'"),
        ("Un café à Genève.".encode("latin-1"), "'gb18030' or 'big5', .* Western Europe 'cp1252'"),
        ("文字".encode() + b"\xff" + b"abc", "before it is utf-8, so the file is damaged there"),
        ("hello world".encode("utf-16-le"), "looks like encoding='utf-16-le'"),
        ("hello world".encode("utf-16-be"), "looks like encoding='utf-16-be'"),
        ((CHINESE + "\r\nA").encode("utf-16-le"), "looks like encoding='utf-16-le'"),
        ((CHINESE + "\r\nA").encode("utf-16-be"), "looks like encoding='utf-16-be'"),
        (b"PAR1\x15\x04\x15\x00", "is a Parquet file"),
        (b"%PDF-1.7\n\x00", "is a PDF"),
        (b"a.txt".ljust(257, b"\0") + b"ustar", "is a .tar archive"),
    ],
)
def test_errors_name_the_encoding_or_the_kind(tmp_path, content, says):
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=says) as caught:
        list(read_texts(file))
    assert "latin" not in str(caught.value)


def test_unknown_encoding():
    with pytest.raises(ValueError, match="encoding 'utf-9' is unknown"):
        read_texts(["a"], encoding="utf-9")


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
@pytest.mark.parametrize("name", ["a.txt", "a.xml"])
@pytest.mark.parametrize("damage", ["not compressed", "cut"])
def test_damaged_archive(tmp_path, suffix, module, name, damage):
    whole = module.compress((DUMP + "<!-- more -->" * 999).encode())
    file = tmp_path / f"{name}{suffix}"
    file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"plain text " * 99)
    with pytest.raises(ValueError, match=rf"{name}{suffix} is a damaged {suffix} archive"):
        list(read_texts(file))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b"', "line 3 is not JSON"),
        ('{"body": "b", "id": 1}', r"line 3 has no field 'text'; it has \['body', 'id'\]"),
        ('"b"', "line 3 is not a JSON object; received str"),
        ("[" * 100_000, "line 3 is nested too deeply"),
        ('{"text": "b", "n": ' + "9" * 5000 + "}", "line 3 cannot be read: Exceeds the limit"),
        ('{"text": null}', "line 3: field 'text' must hold a string; received NoneType"),
    ],
)
def test_broken_json_lines(tmp_path, line, message):
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"text": "a"}}\n\n{line}\n', "utf-8")
    with pytest.raises(ValueError, match=rf"a\.jsonl, {message}"):
        list(read_texts(file))


@pytest.mark.parametrize(
    "content", ["", "<a><b>x</b></a>", DUMP[:400], "no xml", DUMP.replace("title>", "name>")]
)
def test_other_xml(tmp_path, content):
    file = tmp_path / "a.xml"
    file.write_text(content)
    with pytest.raises(ValueError, match=r"a\.xml is not a readable MediaWiki dump"):
        list(read_texts(file))


@pytest.mark.parametrize("source", [b"bytes", {"text": ["a"]}, 3, None])
def test_source_of_a_wrong_type(source):
    with pytest.raises(ValueError, match=f"received {type(source).__name__}"):
        read_texts(source)


def test_text_of_a_wrong_type():
    with pytest.raises(ValueError, match=r"texts\[1\] must be str; received bytes"):
        list(read_texts(["a", b"b"]))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"separator": ""}, "separator must not be empty"),
        ({"separator": 3}, "separator must be str; received int"),
        ({"field": None}, "field must be str; received NoneType"),
        ({"encoding": None}, "encoding must be str; received NoneType"),
        ({"encoding": "utf-9"}, "encoding 'utf-9' is unknown"),
        ({"encoding": "hex"}, "encoding 'hex' is unknown"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(ValueError, match=says):
        read_texts(["a"], **settings)
    if "separator" not in settings:
        with pytest.raises(ValueError, match=says):
            next(read_blocks(["a"], **settings))


# === Blocks ===


def test_blocks_are_the_lines_of_the_documents(tmp_path):
    line = "a line of some words, number {}\n"
    long = "".join(line.format(i) for i in range(60_000))
    (tmp_path / "long.txt").write_text(long, encoding="utf-8")
    (tmp_path / "short.jsonl").write_text('{"text": "one\\ntwo"}\n{"text": "three"}\n')
    blocks = list(read_blocks(tmp_path))
    assert len(blocks) > 2 and max(map(len, blocks)) < 3_000_000
    assert "\n".join(blocks).split("\n") == [*long.split("\n")[:-1], "one", "two", "three"]
    assert all(not block.endswith("\n") for block in blocks)
    assert list(read_blocks(["a", "b\nc"])) == ["a\nb\nc"]
    assert len(list(read_blocks(["x" * 600_000] * 4))) == 2


def test_blocks_of_damaged_files_are_told(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="is not utf-8 text"):
        list(read_blocks(tmp_path / "t.txt"))
    with pytest.raises(ValueError, match="no text in"):
        list(read_blocks([]))
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ValueError, match="no text in"):
        list(read_blocks(tmp_path / "empty.txt"))
