"""Downloads against a server on this machine: whole, resumed, corrupted, without ranges, absent."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from repdiff.datasets import download
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.datasets.download import download_benchmark, verify_download
from repdiff.errors import UserError

FILES = {
    f"{split}.csv": b"material_id,cif\n" + b"".join(b'%d,"data\nx"\n' % n for n in range(400 * k))
    for k, split in enumerate(("train", "val", "test"), start=1)
}
CHECKSUMS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


class Server(ThreadingHTTPServer):
    """Serves FILES under /perov_5/, and can be told to misbehave."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(FILES)
        self.knows_ranges = True
        self.break_after: int | None = None
        self.fail_times = 0
        self.requests: list[tuple[str, str | None, int]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    @property
    def site(self) -> Server:
        assert isinstance(self.server, Server)
        return self.server

    def do_GET(self):
        name, asked = self.path.removeprefix("/perov_5/"), self.headers.get("Range")
        data = self.site.files.get(name)
        if self.site.fail_times:
            self.site.fail_times -= 1
            return self.answer(name, asked, 503 - 3 * (self.site.fail_times % 2), b"")  # 500 too
        if data is None:
            return self.answer(name, asked, 404, b"")
        if asked and self.site.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                return self.answer(name, asked, 416, b"", f"bytes */{len(data)}")
            return self.answer(name, asked, 206, data[start:], f"bytes {start}-{len(data) - 1}/{len(data)}")
        return self.answer(name, asked, 200, data)

    def answer(self, name, asked, status, body, content_range=None):
        self.site.requests.append((name, asked, status))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(body if self.site.break_after is None else body[: self.site.break_after])

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    running = Server()
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def fetch(server, target, **more):
    options = {"checksums": CHECKSUMS} | more
    return download_benchmark("perov_5", target, base_url=server.url, progress=False, **options)


def test_all_files_arrive_whole_and_their_checksums_are_recorded(server, tmp_path):
    assert fetch(server, tmp_path / "p") == tmp_path / "p"
    assert {f.name: f.read_bytes() for f in (tmp_path / "p").glob("*.csv")} == FILES
    assert json.loads((tmp_path / "p" / "checksums.json").read_text()) == CHECKSUMS
    assert not list((tmp_path / "p").glob("*.part"))


def test_what_is_there_already_is_not_fetched_again(server, tmp_path):
    fetch(server, tmp_path)
    server.requests.clear()
    fetch(server, tmp_path)
    assert server.requests == []


def test_an_interrupted_file_is_continued_where_it_broke_off(server, tmp_path):
    (tmp_path / "val.csv.part").write_bytes(FILES["val.csv"][:1000])
    fetch(server, tmp_path)
    assert ("val.csv", "bytes=1000-", 206) in server.requests
    assert (tmp_path / "val.csv").read_bytes() == FILES["val.csv"]


def test_a_server_without_ranges_sends_the_file_anew(server, tmp_path):
    server.knows_ranges = False
    (tmp_path / "val.csv.part").write_bytes(b"something else entirely")
    fetch(server, tmp_path)
    assert (tmp_path / "val.csv").read_bytes() == FILES["val.csv"]


@pytest.mark.parametrize("extra", [b"", b"too much"])
def test_a_part_that_is_complete_or_too_long_comes_out_right(server, tmp_path, extra):
    (tmp_path / "train.csv.part").write_bytes(FILES["train.csv"] + extra)
    fetch(server, tmp_path)
    assert (tmp_path / "train.csv").read_bytes() == FILES["train.csv"]


def test_a_connection_that_breaks_is_taken_up_again_in_the_same_call(server, tmp_path):
    server.break_after = len(FILES["test.csv"]) // 2 + 1
    fetch(server, tmp_path)
    assert (tmp_path / "test.csv").read_bytes() == FILES["test.csv"]
    assert any(asked and status == 206 for _, asked, status in server.requests)


def test_a_connection_that_keeps_breaking_leaves_the_part_for_the_next_call(server, tmp_path):
    server.break_after = 100
    with pytest.raises(
        UserError, match=r"300 bytes are kept: check the network and run the same command again"
    ):
        fetch(server, tmp_path)
    assert (tmp_path / "train.csv.part").read_bytes() == FILES["train.csv"][:300]
    server.break_after = None
    fetch(server, tmp_path)
    assert (tmp_path / "train.csv").read_bytes() == FILES["train.csv"]


def test_a_corrupted_file_is_kept_aside_and_never_taken_for_good(server, tmp_path):
    server.files["val.csv"] = FILES["val.csv"].replace(b"7", b"8")
    with pytest.raises(UserError, match=r"sha256 .*, expected .*; it is kept as .*val\.csv\.bad"):
        fetch(server, tmp_path)
    assert (tmp_path / "val.csv.bad").read_bytes() == server.files["val.csv"]
    assert not (tmp_path / "val.csv").exists()
    server.files["val.csv"] = FILES["val.csv"]
    fetch(server, tmp_path)
    assert (tmp_path / "val.csv").read_bytes() == FILES["val.csv"]


def test_a_part_of_another_file_is_found_out_by_the_checksum(server, tmp_path):
    (tmp_path / "val.csv.part").write_bytes(b"x" * 50)
    with pytest.raises(UserError, match="sha256"):
        fetch(server, tmp_path)


def test_a_file_without_known_checksum_must_have_the_published_number_of_rows(server, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="400 rows, expected 11356"):
        fetch(server, tmp_path, checksums=None)
    sizes = {"train": 400, "val": 800, "test": 1200}
    benchmark = BENCHMARKS["perov_5"]
    smaller = type(benchmark)(name="perov_5", title=benchmark.title, sizes=sizes, files=benchmark.files)
    monkeypatch.setitem(BENCHMARKS, "perov_5", smaller)
    fetch(server, tmp_path, checksums=None)
    assert json.loads((tmp_path / "checksums.json").read_text()) == CHECKSUMS


def test_a_file_that_changed_after_the_download_is_noticed(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / "test.csv").write_bytes(b"other")
    with pytest.raises(UserError, match=r"test\.csv has sha256"):
        fetch(server, tmp_path, checksums=None)
    with pytest.raises(UserError, match=r"test\.csv has sha256"):
        verify_download(tmp_path, {str(tmp_path / "test.csv"): "0" * 64})


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server, tmp_path):
    server.fail_times = 2
    fetch(server, tmp_path)
    assert (tmp_path / "train.csv").read_bytes() == FILES["train.csv"]


def test_a_file_that_the_server_lacks_is_reported_with_its_address(server, tmp_path):
    del server.files["test.csv"]
    with pytest.raises(UserError, match=r"/perov_5/test\.csv answers 404"):
        fetch(server, tmp_path)
    assert (tmp_path / "val.csv").is_file()


def test_no_network_is_reported_in_one_line(tmp_path, server):
    server.server_close()
    with pytest.raises(UserError, match="cannot be fetched") as caught:
        download_benchmark("perov_5", tmp_path, base_url="http://127.0.0.1:9", progress=False)
    assert "\n" not in str(caught.value)


def test_an_unknown_benchmark_and_a_strange_address_are_refused(tmp_path):
    with pytest.raises(UserError, match="known: perov_5"):
        download_benchmark("perov_6", tmp_path)
    with pytest.raises(UserError, match="begins with https"):
        download_benchmark("perov_5", tmp_path, base_url="file:///etc")


def test_a_target_that_is_a_file_cannot_be_written(server, tmp_path):
    (tmp_path / "p").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        fetch(server, tmp_path / "p")
