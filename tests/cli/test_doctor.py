"""The command ``doctor``."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from app.cli import doctor
from app.cli.main import main
from app.core import resources
from app.settings.load import load_settings
from app.vision.backend_choice import Speed


def test_a_long_path_is_neither_cut_off_nor_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / ("events-of-the-entrance-" * 6) / "[desk].db"
    monkeypatch.setenv("MASKWATCH_ALERTS__STORE", str(store))
    monkeypatch.setenv("COLUMNS", "80")
    main(["doctor"])
    assert f"stored in {store}\n" in capsys.readouterr().out


def source_lines(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The state and message of each source, by name."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {line[2]: " ".join([line[0], *line[3:]]) for line in lines if line[1:2] == ["source"]}


def test_named_sources_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    file = tmp_path / "two.toml"
    file.write_text(
        '[[camera]]\nuri = "demo"\nname = "hall"\n'
        '[[camera]]\nuri = "rtsp://user:secret@127.0.0.1:9/gate"\nname = "gate"\nopen_timeout_s = 5\n'
    )
    assert main(["doctor", "--config", str(file)]) == 1
    findings = source_lines(capsys)
    assert findings["hall"].startswith("ok 640x480, first frame after")
    assert findings["gate"].startswith(
        "fault cannot open stream rtsp://127.0.0.1:9/gate: 127.0.0.1:9 refuses connections"
    )


def test_source_flag_overrides_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    file = tmp_path / "one.toml"
    file.write_text('[[camera]]\nuri = "rtsp://127.0.0.1:9/gate"\n')
    assert main(["doctor", "--config", str(file), "--source", str(tmp_path / "video.mp4"), "--source", "demo"]) == 1
    findings = source_lines(capsys)
    assert sorted(findings) == ["demo", "video"]
    assert findings["demo"].startswith("ok")
    assert findings["video"].startswith("fault")


@pytest.mark.parametrize("host", ["cam..local", "c" * 64])
def test_invalid_host_is_reported_as_unknown(
    host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["doctor", "--source", f"rtsp://{host}/live", "--open-timeout", "2"]) == 1
    (finding,) = source_lines(capsys).values()
    assert finding.startswith(f"fault cannot open stream rtsp://{host}/live: unknown host {host}")


def test_event_file_in_a_closed_folder_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, closed = os.stat, tmp_path / "closed"
    closed.mkdir()

    def refusing(path: Any, **more: Any) -> os.stat_result:
        if isinstance(path, str | Path) and closed in Path(path).parents:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **more)

    monkeypatch.setattr(os, "stat", refusing)
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: refusing(dir / "file"))
    settings = load_settings(None, {"alerts": {"store": closed / "sub" / "events.db"}})
    (finding,) = doctor.store_findings(settings)
    assert finding.state == "fault"
    assert str(closed) in finding.advice


def test_a_camera_that_hangs_turned_gets_its_rotation_proposed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["doctor", "--source", "demo", "--rotate", "90", "--flip", "horizontal"]) == 1
    finding = source_lines(capsys)["demo"]
    assert finding.startswith("fault 480x640")
    assert finding.endswith("set rotate = 0 for this camera, or give --rotate 0")


def test_networks_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[list[str]] = []

    def measure(backends: list[str], faults: list[str]) -> list[Speed]:
        measured.append(backends)
        faults += ["onnx-cuda cannot be used"] if len(backends) > 1 else []
        times = (("detector", "int8", 20.0), ("detector", "float32", 10.0), ("classifier", "float32", 0.5))
        return [Speed(network, each, precision, 1, ms) for each in backends for network, precision, ms in times]

    monkeypatch.setattr("app.vision.backends.available_backends", lambda: ["litert", "onnx"])
    monkeypatch.setattr("app.bench.backend_speeds.measure_speeds", measure)
    settings = load_settings(None, {})
    detector, classifier = doctor.speed_findings(settings)
    assert detector.message == "litert int8 20.0 ms, litert float32 10.0 ms; auto uses litert float32, 1 thread"
    assert classifier.message.endswith("auto uses litert float32, 1 thread")
    assert list(doctor.speed_findings(settings)) == [detector, classifier]
    auto = load_settings(None, {"camera": [{"uri": "0", "detector": {"backend": "auto"}}]})
    (fault, *_) = doctor.speed_findings(auto)  # another back end is not measured yet
    assert (fault.state, fault.message) == ("info", "onnx-cuda cannot be used")
    assert len(list(doctor.speed_findings(auto))) == 2
    list(doctor.speed_findings(settings, again=True))
    assert measured == [["litert"], ["litert", "onnx"], ["litert"]]


@pytest.mark.parametrize(
    ("ms", "detector", "advised"),
    [
        (40.0, {}, None),
        (41.0, {}, "detector.working_width_px = 512 takes about 64% of it"),
        (80.0, {}, "detector.working_width_px = 448 takes about 49% of it"),
        (300.0, {}, "detector.working_width_px = 448 takes about 49% of it"),
        (80.0, {"working_width_px": 640}, None),
        (80.0, {"min_face_px": 40}, None),
    ],
)
def test_a_weak_machine_is_advised_to_search_smaller_images(
    monkeypatch: pytest.MonkeyPatch, ms: float, detector: dict[str, int], advised: str | None
) -> None:
    speeds = [Speed("detector", "litert", "int8", 1, ms), Speed("classifier", "litert", "float32", 1, 90.0)]
    monkeypatch.setattr("app.bench.backend_speeds.measure_speeds", lambda *_: speeds)
    advice = [each.advice for each in doctor.speed_findings(load_settings(None, {"detector": detector})) if each.advice]
    assert [each.removesuffix(" (docs/speed.md)") for each in advice] == ([advised] if advised else [])


def test_a_measurement_names_what_it_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.bench import backend_speeds

    monkeypatch.setattr("app.vision.backends.find_spec", lambda name: None)
    monkeypatch.setattr(backend_speeds, "cores_allowed", lambda: 1)
    faults: list[str] = []
    found = backend_speeds.measure_speeds(["litert", "onnx"], faults, rounds=1)
    assert [(each.network, each.precision) for each in found] == [
        ("detector", "int8"),
        ("detector", "float32"),
        ("classifier", "float32"),
    ]
    assert all(0 < each.ms < 10_000 for each in found)
    assert all("pip install 'maskwatch[onnx]'" in fault for fault in faults)


def test_doctor_finds_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    for subject in ("opencv-python", "decoder", "haarcascade", "self-check", "events", "display"):
        assert subject in output


def test_doctor_reports_faults_with_advice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    assert main(["doctor"]) == 1
    output = " ".join(capsys.readouterr().out.split())
    assert "fault" in output
    assert "reinstall" in output
