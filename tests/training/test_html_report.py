"""The HTML report, the charts, and tables for a narrow terminal."""

import io
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from app.cli.evaluate import show
from app.core.types import Box, Label
from app.training.classifier.calibration import Calibration, UnsureRule
from app.training.classifier.evaluation import Predictions, report, usual_slices
from app.training.data.crops import Crops
from app.training.data.samples import Sample
from app.training.reports.charts import as_file, confusion, curves, reliability_diagram, ticks
from app.training.reports.html_report import WORST, Page, Training, write_charts, write_report
from app.training.reports.set_report import Probe, ReportedSet, probe_of
from app.training.trainer import EpochRecord, Fitted
from app.vision.model_metadata import ClassifierMetadata

LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
METADATA = ClassifierMetadata(name="made", labels=LABELS, input_px=32, margin=0.0)
HISTORY = tuple(EpochRecord(i, 0.9 - i / 10, 0.6, abs(i - 1) / 10 + 0.2, 0.7, 1e-3, 1.0) for i in range(4))


def made(name: str, faces: int = 60, wrong: int = 6) -> ReportedSet:
    """Half masked, half bare. The first ``wrong`` masked ones are predicted as bare. No face is *incorrect*."""
    targets = np.arange(faces) % 2
    chosen = np.where((targets == 0) & (np.arange(faces) < 2 * wrong), 1, targets)
    probabilities = np.full((faces, 3), 0.0, np.float32)
    probabilities[np.arange(faces), chosen] = 1.0
    samples = tuple(
        Sample(Path(f"/{name}/<{i}>.jpg"), LABELS[target], "ab"[i % 2], Box(0, 0, 30, 40))
        for i, target in enumerate(targets)
    )
    images = np.random.default_rng(0).integers(0, 256, (faces, 32, 32, 3), np.uint8)
    crops = Crops(images, targets, np.full(faces, 30.0), samples, LABELS, (Path("/broken.jpg"),))
    predictions = Predictions(crops, probabilities, METADATA, {"of no use": 7})
    probe = Probe({"size": 0.875, "all three": 0.9})
    return ReportedSet(
        report(name, predictions, usual_slices(predictions)),
        predictions,
        report(f"{name} at 48 px", predictions),
        probe,
    )


def trained(shown: ReportedSet) -> Training:
    return Training(
        Fitted(None, HISTORY, 1, "all epochs ran"),
        Calibration((0.0, 0.1, -0.3), 0.8, UnsureRule(0.5, 0.6, 3.2)),
        Path("/my/images"),
        {"training": shown.predictions.crops.samples, "development": shown.predictions.crops.samples[:10]},
        {"recipe": {"seed": 4321}, "labels": ["mask"]},
        [(Path("/twin.jpg"), Path("/other.jpg"))],
    )


def test_the_page_shows_each_set_under_its_own_name(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, [made("one"), made("two", wrong=0)]))
    page = (tmp_path / "page.html").read_text()
    first, second = page.split("<h2>two</h2>")
    assert "<h2>one</h2>" in first
    assert "&lt;0&gt;.jpg, 30 × 40 px</figcaption>" in first  # visible without a mouse, and in print
    assert "<b>mask predicted as no_mask</b>, 1.00" in first
    assert "<p>None.</p>" in second
    for part in ("one at 48 px", "87.5", "/broken.jpg", "7: of no use", "source a", "20 to 32 px"):
        assert part in first
    assert "differ by 10.0 percentage points (expected calibration error 0.100)" in first
    assert "http" not in page
    assert "<script" not in page


def test_the_page_of_a_training_shows_its_settings_and_data(tmp_path: Path) -> None:
    shown = made("dev")
    write_report(tmp_path / "page.html", Page(METADATA, [shown], training=trained(shown)))
    page = (tmp_path / "page.html").read_text()
    for part in ("Kept: epoch 2", "/my/images", "development: all", "4321", "incorrect -0.3", "/twin.jpg", "0.8"):
        assert part in page
    assert "<details><summary>Settings: recipe</summary>" in page


def test_results_without_images_are_shown_too(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, others=[made("open test").report]))
    page = (tmp_path / "page.html").read_text()
    assert "<h2>open test</h2><h3>Confusion</h3>" in page.replace("</h2>\n", "</h2>")
    assert "Reliability" not in page


def test_thousands_of_errors_do_not_enlarge_the_sheet(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, [made("one", 4000, 1500)]))
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    assert (tmp_path / "page.html").read_text().count("<img") == WORST


def test_the_charts_are_written_as_files(tmp_path: Path) -> None:
    write_charts(tmp_path, trained(made("dev")), made("dev"))
    for name in ("curves", "confusion", "reliability"):
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_only_labels_that_occur_have_a_row() -> None:
    drawing = str(confusion(made("one").report.scores.confusion, LABELS))
    assert "mask predicted as no_mask: 6" in drawing
    assert "20.0 %" in drawing  # 6 of 30
    assert "incorrect" not in drawing


def test_a_point_at_the_corner_is_inside_the_chart() -> None:
    root = ElementTree.fromstring(as_file(reliability_diagram([(1.0, 1.0, 12345)])))
    (point,) = root.iter("{http://www.w3.org/2000/svg}circle")
    x, y, radius = (float(point.attrib[name]) for name in ("cx", "cy", "r"))
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    assert radius < x < width - radius
    assert radius < y < height - radius
    assert "12345" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("epochs", [1, 4])
def test_curves_of_a_short_and_of_a_diverged_training(epochs: int) -> None:
    history = [*HISTORY[: epochs - 1], EpochRecord(epochs - 1, math.nan, 0.5, math.nan, 0.5, 1e-3, 1.0)]
    chart = curves(history, 0)
    drawing = str(chart)
    assert "epoch 1, whose weights are kept" in drawing
    rings = drawing.count('r="7"')
    assert rings == (3 if epochs > 1 else 2)  # one is in the legend; a curve without a loss has none
    assert 'points="nan' not in drawing
    assert 'y1="nan' not in drawing
    ElementTree.fromstring(as_file(chart))


def test_a_wide_range_of_losses_has_a_logarithmic_axis() -> None:
    near = [EpochRecord(i, loss, 0.6, loss, 0.7, 1e-3, 1.0) for i, loss in enumerate((0.9, 0.5))]
    far = [EpochRecord(i, loss, 0.6, 0.0, 0.7, 1e-3, 1.0) for i, loss in enumerate((50.0, 0.02))]
    assert ">loss<" in str(curves(near, 0))
    drawing = ElementTree.fromstring(as_file(curves(far, 0)))
    texts = {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"loss (log scale)", "0.01", "0.1", "1", "10", "100"} <= texts
    lower_edge = "254.0"
    first = next(node for node in drawing.iter("{http://www.w3.org/2000/svg}polyline") if node.get("class") == "valid")
    assert all(point.endswith(f",{lower_edge}") for point in first.attrib["points"].split())  # a loss of 0


def test_ticks_are_round_and_in_range() -> None:
    assert ticks(0.0, 1.05) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(0.9, 1.0) == pytest.approx([0.9, 0.92, 0.94, 0.96, 0.98, 1.0])
    assert ticks(1, 3, whole=True) == [1, 2, 3]


def test_a_narrow_terminal_truncates_no_number() -> None:
    one = made("/a/[b]/rather/long/name/of/a/set")
    for width in (80, 240):
        console = Console(file=io.StringIO(), width=width)
        show(console, "made", one.reports)
        output = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(len, output.splitlines())) <= width
        assert "…" not in output
        assert "/a/[b]/rather" in output
        assert "80.0 (62.7-90.5)" in output
        assert ("┃" in output) == (width == 240)


def test_the_probe_leaves_out_classes_with_too_few_faces(tmp_path: Path) -> None:
    crops = made("one", 12).predictions.crops
    assert probe_of(crops).found.keys() == {"size", "sharpness", "colour", "all three"}
    few = crops.where(np.arange(12) < 8)
    assert probe_of(few).missing.startswith("too few faces for the shortcut probe")
