"""What a bundle has of an app's own files, and what stays on this machine; no server."""

from pathlib import Path

import pytest

from loop import bundle
from smoke.fault import Fault


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An app whose archive is built, and lies elsewhere."""
    folder = tmp_path / "a b é"
    (folder / "smoke").mkdir(parents=True)
    (folder / "smoke" / "samples.jsonl").write_text('{"id": "a", "text": "x"}\n', encoding="utf-8")
    (folder / "model_store").mkdir()
    (tmp_path / "built.mar").write_bytes(b"packed")
    (folder / "model_store" / "m.mar").symlink_to("../../built.mar")
    monkeypatch.setenv("APP", str(folder))
    return folder


def bundled(app: Path, *lines: str, serves: str = "m=m.mar") -> Path:
    """The bundle of an app whose config has these lines too."""
    config = "\n".join([f"load_models={serves}", *lines])
    (app / "config.properties").write_text(config, encoding="utf-8")
    assert bundle.main() == 0
    return app / ".run" / "bundle"


def test_neither_a_key_nor_its_password_is_in_a_bundle(
    app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = ["keystore=k.p12", "keystore_pass=s3cret", "keystore_type=PKCS12", "enable_grpc_ssl=true"]
    config = (bundled(app, *tls) / "config" / "config.properties").read_text(encoding="ascii")
    assert not [each for each in ("keystore", "s3cret", "ssl") if each in config]
    err = capsys.readouterr().err
    for line, key in enumerate(
        ("keystore", "keystore_pass", "keystore_type", "enable_grpc_ssl"), 2
    ):
        assert f"config.properties:{line}: {key} stays behind\n" in err
    assert "s3cret" not in err


def test_an_edit_after_the_bundle_is_not_in_it(app: Path) -> None:
    (app / "metrics.yaml").write_text("mode: one\n", encoding="utf-8")
    made = bundled(app, "metrics_config=metrics.yaml") / "config" / "metrics.yaml"
    (app / "metrics.yaml").write_text("mode: two\n", encoding="utf-8")
    assert made.read_text(encoding="utf-8") == "mode: one\n"


def test_what_is_a_link_here_is_a_file_in_the_bundle(app: Path) -> None:
    (app.parent / "shared.yaml").write_text("mode: one\n", encoding="utf-8")
    (app / "metrics.yaml").symlink_to("../shared.yaml")
    made = bundled(app, "metrics_config=metrics.yaml")
    for name in ("config/metrics.yaml", "model-store/m.mar"):
        assert (made / name).is_file()
        assert not (made / name).is_symlink()
    assert (made / "model-store" / "m.mar").samefile(app.parent / "built.mar")


def test_a_workflow_is_refused_since_a_pod_serves_models(app: Path) -> None:
    with pytest.raises(Fault, match=r"config\.properties:1: w is a workflow, not a model"):
        bundled(app, serves="w=w.war")
