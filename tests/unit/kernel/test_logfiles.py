from iotistic.kernel import logfiles


def test_an_appending_writer_goes_on_after_its_file_was_cut(tmp_path):
    path = tmp_path / "logs" / "engine.log"
    with logfiles.open_log(path) as log:
        log.write(b"old\n" * 100)
        assert logfiles.rotate(path, max_bytes=100)
        log.write(b"new\n")

    assert path.read_bytes() == b"new\n"
    assert path.with_name("engine.log.1").read_bytes() == b"old\n" * 100
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_small_log_and_one_that_is_not_there_stay_as_they_are(tmp_path):
    path = tmp_path / "engine.log"

    assert not logfiles.rotate(path)
    path.write_text("short\n")
    assert not logfiles.rotate(path, max_bytes=100)
    assert [file.name for file in tmp_path.iterdir()] == ["engine.log"]


def test_only_so_many_old_logs_are_kept_and_the_youngest_is_number_one(tmp_path):
    path = tmp_path / "engine.log"
    for number in range(6):
        path.write_text(f"{number}" * 10)
        logfiles.rotate(path, max_bytes=5, kept=3)

    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "engine.log": "",
        "engine.log.1": "5" * 10,
        "engine.log.2": "4" * 10,
        "engine.log.3": "3" * 10,
    }


def test_the_tail_starts_where_it_is_told_and_survives_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "engine.log"
    path.write_bytes(b"before\n")
    since = logfiles.size(path)
    path.write_bytes(b"before\nafter \xff\nlast\n")

    assert logfiles.tail(path, since=since) == "after \ufffd\nlast"
    assert logfiles.tail(path, since=10_000, lines=1) == "last"
    assert logfiles.tail(tmp_path / "none") == ""
