"""What is shown: the page, the drawings, and the tables of a narrow terminal."""

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
    """Half masked, half bare; the first ``wrong`` masked ones are surely taken for bare. No face is *incorrect*."""
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
    judged = Predictions(crops, probabilities, METADATA, {"of no use": 7})
    probe = Probe({"size": 0.875, "all three": 0.9})
    return ReportedSet(report(name, judged, usual_slices(judged)), judged, report(f"{name} at 48 px", judged), probe)


def trained(shown: ReportedSet) -> Training:
    return Training(
        Fitted(None, HISTORY, 1, "all epochs ran"),
        Calibration((0.0, 0.1, -0.3), 0.8, UnsureRule(0.5, 0.6, 3.2)),
        Path("/my/pictures"),
        {"training": shown.judged.crops.samples, "development": shown.judged.crops.samples[:10]},
        {"recipe": {"seed": 4321}, "labels": ["mask"]},
        [(Path("/twin.jpg"), Path("/other.jpg"))],
    )


def test_the_page_holds_each_set_under_its_own_name(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, [made("one"), made("two", wrong=0)]))
    page = (tmp_path / "page.html").read_text()
    first, second = page.split("<h2>two</h2>")
    assert "<h2>one</h2>" in first
    assert "&lt;0&gt;.jpg, 30 × 40 px</figcaption>" in first  # seen without a mouse, and in print
    assert "<b>mask taken for no_mask</b>, 1.00" in first
    assert "<p>None.</p>" in second
    for told in ("one at 48 px", "87.5", "/broken.jpg", "7: of no use", "source a", "20 to 32 px"):
        assert told in first
    assert "10.0 percentage points off (expected calibration error 0.100)" in first
    assert "http" not in page
    assert "<script" not in page


def test_the_page_of_a_training_says_how_it_came_about(tmp_path: Path) -> None:
    shown = made("dev")
    write_report(tmp_path / "page.html", Page(METADATA, [shown], training=trained(shown)))
    page = (tmp_path / "page.html").read_text()
    for told in ("Kept: epoch 2", "/my/pictures", "development: all", "4321", "incorrect -0.3", "/twin.jpg", "0.8"):
        assert told in page
    assert "<details><summary>Settings: recipe</summary>" in page


def test_figures_without_pictures_have_their_place_too(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, others=[made("open test").report]))
    page = (tmp_path / "page.html").read_text()
    assert "<h2>open test</h2><h3>Confusion</h3>" in page.replace("</h2>\n", "</h2>")
    assert "Reliability" not in page


def test_thousands_of_mistakes_make_no_larger_sheet(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, [made("one", 4000, 1500)]))
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    assert (tmp_path / "page.html").read_text().count("<img") == WORST


def test_the_drawings_are_files_of_their_own(tmp_path: Path) -> None:
    write_charts(tmp_path, trained(made("dev")), made("dev"))
    for name in ("curves", "confusion", "reliability"):
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_only_labels_that_occur_have_a_row() -> None:
    drawing = str(confusion(made("one").report.scores.confusion, LABELS))
    assert "mask taken for no_mask: 6" in drawing
    assert "20.0 %" in drawing  # 6 of 30
    assert "incorrect" not in drawing


def test_a_point_at_the_corner_lies_within_the_drawing() -> None:
    root = ElementTree.fromstring(as_file(reliability_diagram([(1.0, 1.0, 12345)])))
    (point,) = root.iter("{http://www.w3.org/2000/svg}circle")
    x, y, radius = (float(point.attrib[name]) for name in ("cx", "cy", "r"))
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    assert radius < x < width - radius
    assert radius < y < height - radius
    assert "12345" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("epochs", [1, 4])
def test_curves_of_a_short_training_and_of_one_that_went_astray(epochs: int) -> None:
    history = [*HISTORY[: epochs - 1], EpochRecord(epochs - 1, math.nan, 0.5, math.nan, 0.5, 1e-3, 1.0)]
    chart = curves(history, 0)
    drawing = str(chart)
    assert "epoch 1, whose weights are kept" in drawing
    rings = drawing.count('r="7"')
    assert rings == (3 if epochs > 1 else 2)  # one is in the key; where the loss is unknown, there is none on its curve
    assert 'points="nan' not in drawing
    assert 'y1="nan' not in drawing
    ElementTree.fromstring(as_file(chart))


def test_losses_far_apart_are_shown_by_powers_of_ten() -> None:
    near = [EpochRecord(i, loss, 0.6, loss, 0.7, 1e-3, 1.0) for i, loss in enumerate((0.9, 0.5))]
    far = [EpochRecord(i, loss, 0.6, 0.0, 0.7, 1e-3, 1.0) for i, loss in enumerate((50.0, 0.02))]
    assert ">loss<" in str(curves(near, 0))
    drawing = ElementTree.fromstring(as_file(curves(far, 0)))
    words = {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"loss (log scale)", "0.01", "0.1", "1", "10", "100"} <= words
    lower_edge = "254.0"
    first = next(node for node in drawing.iter("{http://www.w3.org/2000/svg}polyline") if node.get("class") == "valid")
    assert all(point.endswith(f",{lower_edge}") for point in first.attrib["points"].split())  # of a loss of nothing


def test_ticks_are_round_and_within() -> None:
    assert ticks(0.0, 1.05) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(0.9, 1.0) == pytest.approx([0.9, 0.92, 0.94, 0.96, 0.98, 1.0])
    assert ticks(1, 3, whole=True) == [1, 2, 3]


def test_a_narrow_terminal_cuts_no_figure_off() -> None:
    one = made("/a/[b]/rather/long/name/of/a/set")
    for width in (80, 240):
        console = Console(file=io.StringIO(), width=width)
        show(console, "made", one.reports)
        told = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(len, told.splitlines())) <= width
        assert "…" not in told
        assert "/a/[b]/rather" in told
        assert "80.0 (62.7-90.5)" in told
        assert ("┃" in told) == (width == 240)


def test_the_probe_leaves_out_classes_of_too_few_faces(tmp_path: Path) -> None:
    crops = made("one", 12).judged.crops
    assert probe_of(crops).found.keys() == {"size", "sharpness", "colour", "all three"}
    few = crops.where(np.arange(12) < 8)
    assert probe_of(few).missing.startswith("too few faces for the shortcut probe")
