import subprocess
import sys

from reliquant.files.alone import alone


def _other(folder):
    code = f"""if True:
        from pathlib import Path
        from reliquant.files.alone import alone
        with alone(Path({str(folder)!r}), "downloads into") as waited:
            print(waited, sorted(path.name for path in Path({str(folder)!r}).iterdir()), flush=True)
    """
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_second_process_waits_for_the_first_and_says_so(tmp_path):
    with alone(tmp_path / "data", "downloads into") as waited:
        assert not waited
        other = _other(tmp_path / "data")
        assert other.stderr.readline().endswith("another process downloads into it: waiting until it has ended\n")
        assert other.poll() is None
        (tmp_path / "data" / "done").touch()
    assert other.communicate(timeout=30)[0] == "True ['done']\n"


def test_who_waited_for_a_folder_that_was_deleted_has_a_new_one_of_its_own(tmp_path):
    with alone(tmp_path / "training", "trains in"):
        other = _other(tmp_path / "training")
        other.stderr.readline()
        (tmp_path / "training").rmdir()
    assert other.communicate(timeout=30)[0] == "True []\n"
    with alone(tmp_path / "training", "trains in") as waited:
        assert not waited
