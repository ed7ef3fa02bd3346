"""The wheel outside the checkout: bundles and configurations come from it, and it needs nothing of the sources."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from earmark.synthesis.scene import make_scene
from earmark.synthesis.scene import write_wav as write_scene

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    """What a command says; it must succeed."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, CHECKOUT, cwd=folder)
    (built,) = folder.glob("earmark-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The ``bin`` of a virtual environment with the wheel; its dependencies are those of this one.

    A ``.pth`` file adds their folder. Files in that folder's own ``.pth`` files, the editable install of the checkout
    among them, do not count there.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    options = ("--quiet", "--no-deps", "--no-index", "--ignore-installed")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    return folder / "bin"


def test_holds_code_bundles_and_configurations_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"earmark", "streamer", "engine", "publishers"}
    for name in (
        "models/urban/model.onnx",
        "models/urban/bundle.json",
        "configs/microphone.yaml",
        "configs/files.yaml",
    ):
        assert f"earmark/{name}" in names
    assert not [name for name in names if name.endswith((".pyc", ".db"))]


def test_detects_from_another_folder(installed, tmp_path):
    script = "import earmark, engine; print(earmark.__file__, engine.__file__)"
    assert str(CHECKOUT) not in run(installed / "python", "-c", script, cwd=tmp_path)
    scene = make_scene(8)
    write_scene(tmp_path / "scene.wav", scene)
    header, *rows = run(installed / "earmark", "detect", "--format", "tsv", "scene.wav", cwd=tmp_path).splitlines()
    assert header == "filename\tonset\toffset\tevent_label"
    assert {row.split("\t")[3] for row in rows} & {extent.label for extent in scene.truth}
    assert "urban" in run(installed / "earmark", "models", cwd=tmp_path)


def test_its_presets_are_good(installed, tmp_path):
    script = "from earmark.contracts.bundle import shipped; print(shipped('configs'))"
    presets = Path(run(installed / "python", "-c", script, cwd=tmp_path).strip())
    assert str(CHECKOUT) not in str(presets)
    assert "good" in run(installed / "earmark", "config", "check", presets / "microphone.yaml", cwd=tmp_path)
