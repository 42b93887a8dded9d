"""Targets: whole or not at all, whatever ends the writing, whatever is in their place."""

import os
import stat
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import can_mount, heeding_permissions, mounted

from alflow.errors import InputError
from alflow.files.targets import check_target, replacing, shown, writing


def test_outsider_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def stop(error):
        with writing(path, "It") as part:
            part.write_text("half")
            raise error

    with pytest.raises(ZeroDivisionError):
        stop(ZeroDivisionError)
    with pytest.raises(KeyboardInterrupt):
        stop(KeyboardInterrupt)
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "before"


def test_outsider_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with writing(path, "It") as part:
        part.write_text("after")
        assert path.read_text() == "before"
        assert part.parent == path.parent
        assert part.suffix == path.suffix
    assert path.read_text() == "after"


def test_a_check_leaves_nothing_but_the_folders(tmp_path):
    check_target(tmp_path / "a" / "b" / "c.txt", "It")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_outsider_mode_and_owner_of_a_new_file_are_the_users_usual_ones(tmp_path):
    with writing(tmp_path / "a", "It") as part:
        part.write_text("")
    (tmp_path / "b").write_text("")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_outsider_a_pipe_gets_the_whole_file(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    check_target(path, "It")
    with pytest.raises(InputError, match="must be written somewhere"), writing(path, "It") as part:
        part.write_bytes(b"")
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    for _ in range(1000):  # until the reader has opened it
        try:
            with writing(path, "It") as part:
                part.write_bytes(b"all of it" * 1000)
            break
        except InputError:
            threading.Event().wait(0.01)
    reader.join(10)
    assert b"".join(got).endswith(b"all of it")
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_outsider_a_read_only_file_is_not_replaced(tmp_path):
    path = tmp_path / "precious"
    path.write_text("before")
    path.chmod(0o444)
    with heeding_permissions(), pytest.raises(InputError, match="precious cannot be: Permission denied"):
        check_target(path, "The page")
    assert path.read_text() == "before"


def test_outsider_a_folder_of_others_is_named(tmp_path):
    tmp_path.chmod(0o555)
    with heeding_permissions(), pytest.raises(InputError, match="a cannot be: Permission denied"):
        check_target(tmp_path / "a", "The page")


@pytest.mark.parametrize("blocks", range(10))
def test_outsider_a_disk_that_becomes_full_at_any_moment_leaves_no_part(tmp_path, blocks):
    if not can_mount(tmp_path / "try"):
        pytest.skip("file systems are mounted by root")
    with mounted(tmp_path / "disk", "size=32k") as disk:
        (disk / "old").write_bytes(b"o" * 4096)
        content = b"n" * 4096 * blocks
        refusal = _refusal(disk / "old", content)
        assert (refusal == "") == (blocks < 8)
        assert refusal == "" or "No space left on device" in refusal
        assert (disk / "old").read_bytes() == (b"o" * 4096 if refusal else content)
        assert [item.name for item in disk.iterdir()] == ["old"]


def _refusal(path, content):
    try:
        with writing(path, "It") as part:
            part.write_bytes(content)
    except InputError as error:
        return str(error)
    return ""


NAMES = st.binary(min_size=1, max_size=260).filter(lambda name: b"\0" not in name and name not in (b".", b".."))


@settings(max_examples=150, deadline=None)
@given(name=NAMES)
def test_outsider_any_name_is_written_or_refused_in_one_line(tmp_path_factory, name):
    path = tmp_path_factory.getbasetemp() / "names" / "below" / os.fsdecode(name).lstrip("/")
    refusal = _refusal(path, b"whole")
    assert len(refusal.splitlines()) <= 1
    if refusal:
        assert max(map(len, os.fsencode(path).split(b"/"))) > 255 or not path.is_file()
    else:
        assert path.read_bytes() == b"whole"


def test_names_that_would_break_a_line_are_shown_as_python_does(tmp_path):
    assert shown(tmp_path) == str(tmp_path)
    assert shown(tmp_path / "a\nb") == repr(str(tmp_path / "a\nb"))
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a") as part:
        assert not part.exists()
