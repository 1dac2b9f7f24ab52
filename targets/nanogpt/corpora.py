"""Where text comes from: each source names its documents in an order that does not change."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import sysconfig
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import withheld
from cachedir import cache_root
from dataset import CorpusError
from download import Download, DownloadError
from progress import Progress

CLIMBMIX_URL = "https://huggingface.co/datasets/karpathy/climbmix-400b-shuffle/resolve/main"
CLIMBMIX_VAL = 6542  # the last shard, which autoresearch validates on
CLIMBMIX_HOLDOUT = 6541  # never trained on here, so at most 6541 shards (0 … 6540) are
#: 300 s at 1.6 million tokens a second are 480 million tokens; a shard holds about 60 million.
CLIMBMIX_SHARDS = 8
#: Most bytes of text in val and in holdout each: five million tokens, of which the cuda preset scores four.
CLIMBMIX_SCORED_BYTES = 24_000_000

#: The same for any other corpus: about a million tokens.
SCORED_BYTES = 4_000_000
#: A longer text file counts as several documents, cut at line ends. Far below SCORED_BYTES.
LONG_FILE = 1 << 20
#: The same for a file that is the whole corpus, which has to give documents to every split.
LONE_FILE = 8 << 10

#: Folders of the standard library that are no library source.
NOT_LIBRARY = frozenset("test tests idle_test site-packages dist-packages idlelib lib2to3 turtledemo _bundled".split())
#: Files that are written when Python is built or packaged.
MADE = ("_sysconfigdata", "sitecustomize", "usercustomize", "python-config")


class Document(NamedTuple):
    """``data`` as found, not checked. Documents of one ``group`` stay together in the split, and no worker is shown
    the module of that name when they are scored; ``split`` is where it has to go, None when its hash decides."""

    data: bytes
    group: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class Source:
    """One corpus.

    Args:
        name: as given to --corpus, or the last part of a path.
        origin: where the text lies, for people.
        identity: plain values that differ whenever the text may differ, cheap to find.
        documents: all documents; every call gives the same ones in the same order.
        scored_bytes: most bytes of text in val and in holdout each, None for no limit.
        path: the user's own file or folder with the text, empty when it is not theirs.
        fetch: brings the text here; returns what is worth recording about it.
    """

    name: str
    origin: str
    identity: tuple[Any, ...]
    documents: Callable[[], Iterator[Document]]
    scored_bytes: int | None = SCORED_BYTES
    path: str = ""
    fetch: Callable[[Progress], list[dict[str, Any]]] = field(default=lambda progress: [])


def find(corpus: str, shards: int | None = None) -> Source:
    """The source named ``corpus``: ``stdlib``, ``site-packages``, ``climbmix`` or a path.

    Raises:
        CorpusError: there is no such thing, or ``shards`` does not fit it.
    """
    if not corpus:
        raise CorpusError("--corpus is empty; it takes stdlib, site-packages, climbmix or a path.")
    if corpus == "climbmix":
        return climbmix(CLIMBMIX_SHARDS if shards is None else shards)
    if shards is not None:
        raise CorpusError(f"--shards is for climbmix; {corpus} has no shards. Use --limit-mb.")
    if corpus == "stdlib":
        return stdlib(Path(sysconfig.get_path("stdlib")))
    if corpus == "site-packages":
        return site_packages()
    return local(Path(corpus).expanduser().absolute())


def stdlib(root: Path) -> Source:
    """The Python library's own source under ``root``, whole packages in each split.

    Left out: tests, vendored code, IDLE and the like, and what is written when Python is built or
    packaged, so that equal versions of Python give equal text. Only modules that
    no worker imports can be val or holdout.
    """

    files = [path for path in walk(root, ".py", without=NOT_LIBRARY) if not path.name.startswith(MADE)]
    if len(files) < 100:
        raise CorpusError(
            f"{sys.executable} has {len(files)} source files in its standard library ({root}): this "
            "distribution of Python does not ship them. Use another Python, or --corpus PATH."
        )

    def name_of(path: Path) -> str | None:
        return withheld.of_stdlib(path.relative_to(root).parts)

    def documents() -> Iterator[Document]:
        for path in sorted(files, key=lambda path: name_of(path) is None):  # so that a limit leaves something to score
            yield spared(path.read_bytes(), name_of(path))

    return Source("stdlib", str(root), stats(files), documents, scored_bytes=None)


def site_packages() -> Source:
    """All Python source installed beside this interpreter, one document a file.

    Only packages that no worker imports, and tests, can be val or holdout: whole folders of them.
    """
    roots = sorted({Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")})
    files = [(root, path) for root in roots for path in walk(root, ".py")]
    vendored = {entry.name.removesuffix(".py") for root in roots for entry in root.glob("*/_vendor/*")}

    def documents() -> Iterator[Document]:
        names = [withheld.of_packages(path.relative_to(root).parts, vendored) for root, path in files]
        for name, (_, path) in sorted(zip(names, files, strict=True), key=lambda pair: pair[0] is None):
            for piece in pieces(path, LONG_FILE):
                yield spared(piece.data, name)

    return Source("site-packages", " ".join(map(str, roots)), stats([path for _, path in files]), documents)


def spared(data: bytes, name: str | None) -> Document:
    """A document that can be val or holdout only if a worker does without the module ``name``."""
    return Document(data, name, None if name else "train")


def local(path: Path) -> Source:
    """A file or a folder of text, .jsonl, .jsonl.gz and .parquet.

    Hidden files and folders are left out, and links to folders are not followed.
    """
    if not path.exists():
        raise CorpusError(
            f"There is no corpus {str(path)!r}. --corpus takes stdlib, site-packages, climbmix, or the path "
            "of a file or a folder."
        )
    files = [path] if path.is_file() else walk(path)

    def documents() -> Iterator[Document]:
        for file in files:
            if file.name.endswith((".jsonl", ".jsonl.gz")):
                yield from json_rows(file)
            elif file.suffix == ".parquet":
                yield from parquet_rows(file)
            else:
                yield from pieces(file, LONE_FILE if len(files) == 1 else LONG_FILE)

    return Source(path.name or "root", str(path), stats(files), documents, path=str(path))


def climbmix(shards: int) -> Source:
    """The first ``shards`` shards of ClimbMix to train on, a pinned one each for val and holdout.

    $LOOPER_CLIMBMIX_URL replaces the folder's address on the hub, for a mirror.
    """
    if not 1 <= shards <= CLIMBMIX_HOLDOUT:
        raise CorpusError(f"--shards is {shards}; climbmix has 1 to {CLIMBMIX_HOLDOUT} shards to train on.")
    url = os.environ.get("LOOPER_CLIMBMIX_URL", CLIMBMIX_URL).rstrip("/")
    if not url.startswith(("https://", "http://")):
        raise CorpusError(f"LOOPER_CLIMBMIX_URL is {url!r}; it has to begin with https:// or http://.")
    folder = cache_root() / "shards" / f"climbmix-{hashlib.sha256(url.encode()).hexdigest()[:8]}"
    # Val and holdout first: of a text that occurs twice the first is kept.
    numbers = {CLIMBMIX_VAL: "val", CLIMBMIX_HOLDOUT: "holdout"} | dict.fromkeys(range(shards), "train")
    names = {number: f"shard_{number:05d}.parquet" for number in numbers}

    def fetch(progress: Progress) -> list[dict[str, Any]]:
        progress.stage(f"climbmix: downloading {len(names)} shards")
        folder.mkdir(parents=True, exist_ok=True)
        download = Download(grow=progress.grow, advance=progress.advance)
        try:
            return download.fetch_all([(f"{url}/{name}", folder / name) for name in names.values()])
        except DownloadError as error:
            raise DownloadError(
                f"{error} What has arrived is kept. Without a network use --corpus stdlib, site-packages "
                "or a path; for a mirror set LOOPER_CLIMBMIX_URL."
            ) from None

    def documents() -> Iterator[Document]:
        for number, split in numbers.items():
            wanted = sys.maxsize if split == "train" else CLIMBMIX_SCORED_BYTES
            for document in parquet_rows(folder / names[number]):
                wanted -= len(document.data)
                if wanted < 0:
                    break
                yield document._replace(split=split)

    return Source("climbmix", url, (url, *names.values()), documents, fetch=fetch)


def walk(root: Path, suffix: str = "", without: frozenset[str] = frozenset()) -> list[Path]:
    """Every file under ``root`` whose name ends in ``suffix``, sorted by path.

    Hidden files and folders are left out, and so are folders named in ``without``. Links to folders
    are not followed.
    """
    found: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in without]
        found += (f"{folder}/{name}" for name in names if name.endswith(suffix) and not name.startswith("."))
    return [Path(path) for path in sorted(found) if os.path.isfile(path)]


def stats(files: list[Path]) -> tuple[Any, ...]:
    """Path, size and time of change of every file: enough to see that nothing was touched."""
    seen = ((str(path), os.stat(path)) for path in files)
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in seen)


def pieces(path: Path, longest: int) -> Iterator[Document]:
    """The text file as one document, or cut at line ends into documents of ``longest`` bytes or a
    line more. Of a file that looks binary only the first bytes, by which it is dropped."""
    with open(path, "rb") as file:
        head = file.read(longest)
        if not head or is_binary(head):
            yield Document(head)
            return
        file.seek(0)
        while data := file.read(longest):
            yield Document(data if data.endswith(b"\n") else data + file.readline())


def is_binary(data: bytes) -> bool:
    """Whether there is a NUL among the first 8 KiB."""
    return b"\0" in data[:8192]


def json_rows(path: Path) -> Iterator[Document]:
    """The field "text", else "content", of every line of a .jsonl or .jsonl.gz."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield Document(_row_text(line, f"{path}:{number}"))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CorpusError(f"{path} is not a whole gzip file: {error}.") from None


def _row_text(line: bytes, where: str) -> bytes:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return line  # invalid UTF-8: counted and dropped with the others
    except ValueError as error:
        raise CorpusError(f"{where} is not JSON: {error}.") from None
    text = next((row[name] for name in ("text", "content") if name in row), 0) if isinstance(row, dict) else 0
    if not isinstance(text, str | None):
        raise CorpusError(f'{where} has no text: each line is an object with a string "text" or "content".')
    # A lone surrogate gives invalid UTF-8: counted and dropped with the others.
    return (text or "").encode("utf-8", "surrogatepass")


def parquet_rows(path: Path) -> Iterator[Document]:
    """The column "text" of a Parquet file, in batches."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise CorpusError(f"{path} needs the package pyarrow. Install it: pip install 'looper-lab[nanogpt]'.") from None
    try:
        with pq.ParquetFile(path) as file:
            if "text" not in file.schema_arrow.names:
                columns = ", ".join(file.schema_arrow.names)
                raise CorpusError(f'{path} has no column "text"; it has {columns}.')
            for batch in file.iter_batches(batch_size=1024, columns=["text"]):
                for data in batch.column(0).cast(pa.binary()).to_pylist():
                    yield Document(data or b"")
    except pa.ArrowException as error:
        raise CorpusError(f"{path} cannot be read as Parquet: {error}.") from None
