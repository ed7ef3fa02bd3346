"""``earmark compile``: the shipped bundle for a GPU, without one."""

import json

import pytest

from earmark.app import extras
from earmark.app.cli import run_command
from earmark.contracts.bundle import load_bundle
from engine.runtimes.tensorrt import flavours
from tests.support.tiny_bundle import write_tiny_bundle


@pytest.fixture
def compile_bundle(capsys):
    def compile_bundle(*arguments):
        code = run_command(["compile", *(str(argument) for argument in arguments)])
        return code, *capsys.readouterr()

    return compile_bundle


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_it_compiles_the_shipped_bundle(compile_bundle, tmp_path, precision):
    code, out, err = compile_bundle("urban", "--precision", precision, "--max-batch", 512, "--out", tmp_path)
    assert (code, err) == (0, "")
    path = tmp_path / f"urban-{precision}-tensorrt_rtx.engine"
    assert out.splitlines()[-1] == f"wrote {path}"
    assert "1 to 512 rows, 1 to 1 hops a step" in out
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["bundle"] == load_bundle("urban").identity
    assert sidecar["engine_bytes"] == path.stat().st_size
    assert sorted(each.name for each in tmp_path.iterdir()) == [path.with_suffix(".engine").name, f"{path.stem}.json"]


def test_without_out_it_goes_to_the_users_cache(compile_bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, out, _ = compile_bundle(write_tiny_bundle(tmp_path / "tiny"))
    assert code == 0
    assert f"wrote {tmp_path}/cache/earmark/engines/tiny-fp32-tensorrt_rtx.engine" in out


def test_mistakes_are_one_line(compile_bundle, tmp_path, monkeypatch):
    code, _, err = compile_bundle("nowhere")
    assert (code, err.count("\n")) == (2, 1)
    assert "got 'nowhere'" in err
    (tmp_path / "file").write_text("")
    tiny = write_tiny_bundle(tmp_path / "tiny")
    code, _, err = compile_bundle(tiny, "--out", tmp_path / "file")
    assert code == 2
    assert err.startswith("earmark: error: --out: expected a folder to write to, got ")
    flavours.installed_flavour.cache_clear()
    monkeypatch.setattr(flavours, "find_spec", lambda _name: None)
    code, _, err = compile_bundle(tiny)
    assert (code, err.count("\n")) == (2, 1)
    assert "expected the package tensorrt or tensorrt_rtx, found none; install 'earmark[tensorrt]'" in err


def test_without_onnx_it_says_what_to_install(compile_bundle, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(extras, "import_module", missing)
    code, _, err = compile_bundle(write_tiny_bundle(tmp_path / "tiny"))
    assert (code, "pip install 'earmark[tensorrt]'" in err) == (2, True)
