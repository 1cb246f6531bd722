import pytest

from iotistic.kernel.migrations import files


def test_files_are_read_in_alphabetical_order_of_their_names(tmp_path):
    for name in ("0010_c", "0002_b", "0002_a_longer", "0001_a"):
        (tmp_path / f"{name}.sql").write_text("SELECT 1;")
    (tmp_path / "README.md").write_text("not a migration")

    assert [file.name for file in files.read_folder(tmp_path)] == [
        "0001_a",
        "0002_a_longer",
        "0002_b",
        "0010_c",
    ]


def test_the_way_lines_end_does_not_change_a_checksum_and_a_letter_does(tmp_path):
    (tmp_path / "0001_a.sql").write_bytes(b"SELECT 1;\nSELECT 2;\n")
    (tmp_path / "0002_b.sql").write_bytes(b"\xef\xbb\xbfSELECT 1;\r\nSELECT 2;\r\n")
    (tmp_path / "0003_c.sql").write_bytes(b"SELECT 1;\nSELECT 3;\n")
    unix, windows, other = files.read_folder(tmp_path)

    assert unix.checksum == windows.checksum
    assert unix.checksum != other.checksum


def test_a_file_that_is_not_text_is_refused_by_name(tmp_path):
    (tmp_path / "0001_image.sql").write_bytes(b"\x89PNG\xff\xfe\x00")

    with pytest.raises(files.MigrationFileInvalid, match=r"0001_image\.sql is not UTF-8"):
        files.read_folder(tmp_path)


def test_a_folder_that_does_not_exist_is_refused_by_name(tmp_path):
    with pytest.raises(files.MigrationFileInvalid, match="nowhere does not exist"):
        files.read_folder(tmp_path / "nowhere")


def test_a_commit_inside_a_migration_is_refused_with_file_and_line(tmp_path):
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE t ();\n\nCOMMIT;\n")

    with pytest.raises(files.MigrationFileInvalid, match=r"0001_a\.sql, line 3"):
        files.read_folder(tmp_path)[0].statements()


def test_a_new_migration_gets_the_next_number_and_a_template_about_locks(tmp_path):
    (tmp_path / "0041_before.sql").write_text("SELECT 1;")

    path = files.create(tmp_path, "Add door index")

    assert path.name == "0042_add_door_index.sql"
    assert "lock_timeout" in path.read_text()
    assert files.find(tmp_path, "0042_add_door_index.sql").statements() == []


def test_a_name_that_exists_under_another_number_is_refused(tmp_path):
    files.create(tmp_path, "add_door_index")

    with pytest.raises(files.MigrationExists):
        files.create(tmp_path, "add door index")


@pytest.mark.parametrize("title", ["", "///", "--", "Ж"])
def test_a_title_that_makes_no_name_is_refused(tmp_path, title):
    with pytest.raises(files.MigrationFileInvalid, match="makes no file name"):
        files.create(tmp_path, title)


def test_a_title_cannot_leave_the_folder(tmp_path):
    assert files.create(tmp_path, "../../etc/passwd").parent == tmp_path
