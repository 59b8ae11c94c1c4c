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
from app.training.classifier.evaluation import Predictions, ReportedSet, report, usual_slices
from app.training.classifier.shortcut_probe import Probe, probe_of
from app.training.data.crops import Crops
from app.training.reports.charts import as_file, confusion, curves, reliability_diagram
from app.training.reports.html_report import WORST, Page, Training, write_charts, write_report
from app.training.trainer import Fitted
from app.training.types import EpochRecord, LeftOut, Sample
from app.vision.model_metadata import ClassifierMetadata

LABELS = (Label.MASK, Label.NO_MASK, Label.INCORRECT)
METADATA = ClassifierMetadata(name="made", labels=LABELS, input_px=32, margin=0.0)


def epoch(number: int, loss: float, development_loss: float) -> EpochRecord:
    trained, developed = {"loss": loss, "accuracy": 0.6}, {"loss": development_loss, "accuracy": 0.7}
    return EpochRecord(number, trained, developed, 1e-3, 1.0)


HISTORY = tuple(epoch(i, 0.9 - i / 10, abs(i - 1) / 10 + 0.2) for i in range(4))


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
    crops = Crops(
        images, targets, np.full(faces, 30.0), samples, LABELS, (LeftOut(Path("/broken.jpg"), "cannot be read"),)
    )
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
        verdict="Better: of <these> faces.",
        next_command="maskwatch watch --model mine/classifier.tflite",
    )


def test_the_page_shows_each_set_under_its_own_name(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, [made("one"), made("two", wrong=0)]))
    page = (tmp_path / "page.html").read_text()
    first, second = page.split("<h2>two</h2>")
    assert "<h2>one</h2>" in first
    assert "&lt;0&gt;.jpg,\n30 × 40 px</figcaption>" in first  # visible without a mouse, and in print
    assert "<b>mask predicted as no_mask</b>, 1.00" in first
    assert "<p>None.</p>" in second
    for part in ("one at 48 px", "87.5", "/broken.jpg: cannot be read", "7: of no use", "source a", "20 to 32 px"):
        assert part in first
    assert "differ by 10.0\npercentage points (expected calibration error 0.100)" in first
    assert "http" not in page
    assert "<script" not in page


def test_the_page_of_a_training_shows_its_settings_and_data(tmp_path: Path) -> None:
    shown = made("dev")
    write_report(tmp_path / "page.html", Page(METADATA, [shown], training=trained(shown)))
    page = (tmp_path / "page.html").read_text()
    for part in ("Kept: epoch 2", "/my/images", "development: all", "4321", "incorrect -0.3", "/twin.jpg", "0.8"):
        assert part in page
    assert "<details><summary>Settings: recipe</summary>" in page
    opening, *folded = page.partition("</style>")[2].split("<details>")
    assert "<strong>Better: of &lt;these&gt; faces.</strong>" in opening, "the verdict is first"
    assert "<code>maskwatch watch --model mine/classifier.tflite</code>" in opening
    assert "Recall by label" in opening
    assert not any(part in opening for part in ("<h2>Training</h2>", "<h2>dev</h2>")), "details are folded"
    assert any("<h2>Training</h2>" in part for part in folded)


def test_the_label_not_face_has_no_offset(tmp_path: Path) -> None:
    shown = made("dev")
    metadata = METADATA.model_copy(update={"labels": (*METADATA.labels, Label.NOT_FACE)})
    write_report(tmp_path / "page.html", Page(metadata, [shown], training=trained(shown)))
    page = (tmp_path / "page.html").read_text()
    assert "incorrect -0.3" in page
    assert "not_face +" not in page


def test_results_without_images_are_shown_too(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, others=[made("open test").report]))
    page = (tmp_path / "page.html").read_text()
    assert "<h2>open test</h2>\n<h3>Confusion</h3>" in page
    assert "Reliability" not in page


def test_thousands_of_errors_do_not_enlarge_the_sheet(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", Page(METADATA, [made("one", 4000, 1500)]))
    assert (tmp_path / "page.html").stat().st_size < 1_000_000
    assert (tmp_path / "page.html").read_text().count("<img") == WORST


def test_the_charts_are_written_as_files(tmp_path: Path) -> None:
    write_charts(tmp_path, trained(made("dev")), made("dev"))
    for name in ("curves", "confusion", "reliability"):
        assert ElementTree.parse(tmp_path / f"{name}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"


def texts(chart: str) -> set[str]:
    root = ElementTree.fromstring(as_file(chart))
    return {"".join(text.itertext()).strip() for text in root.iter("{http://www.w3.org/2000/svg}text")}


def test_only_labels_that_occur_have_a_row() -> None:
    drawing = confusion(made("one").report.scores.confusion, LABELS)
    assert "mask predicted as no_mask: 6" in drawing
    assert {"mask", "no_mask", "6", "20.0 %"} <= texts(drawing)  # 6 of 30
    assert "incorrect" not in drawing


def test_colours_follow_the_page_and_no_address_is_inside() -> None:
    drawing = confusion(made("one").report.scores.confusion, LABELS)
    assert "var(--blue)" in drawing
    assert "#0072b2" not in drawing
    assert "http" not in drawing


def test_the_reliability_diagram_shows_every_bin() -> None:
    drawing = reliability_diagram([(0.55, 0.4, 10), (1.0, 1.0, 12345)])
    assert {"10", "12345", "accuracy"} <= texts(drawing)
    assert "12345 faces at confidence 1.00: 100.0 % correct" in drawing
    assert "accuracy" in texts(reliability_diagram([]))


@pytest.mark.parametrize("epochs", [1, 4])
def test_curves_of_a_short_and_of_a_diverged_training(epochs: int) -> None:
    history = [*HISTORY[: epochs - 1], epoch(epochs - 1, math.nan, math.nan)]
    drawing = curves(history, 0)
    assert "epoch 1, whose weights are kept" in texts(drawing)
    assert "nan" not in drawing.partition(">")[2]


def test_a_wide_range_of_losses_has_a_logarithmic_axis() -> None:
    near = [epoch(i, loss, loss) for i, loss in enumerate((0.9, 0.5))]
    far = [epoch(i, loss, 0.0) for i, loss in enumerate((50.0, 0.02))]
    assert "loss" in texts(curves(near, 0))
    assert "loss (log scale)" in texts(curves(far, 0))


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


def test_the_probe_leaves_out_classes_with_too_few_faces(tmp_path: Path) -> None:
    crops = made("one", 12).predictions.crops
    assert probe_of(crops).found.keys() == {"size", "sharpness", "colour", "all three"}
    few = crops.where(np.arange(12) < 8)
    assert probe_of(few).missing.startswith("too few faces for the shortcut probe")
