"""The message box."""

import pytest
from fakes_window import FakeImageWindow

from app.ui import message_box
from app.ui.image_window import Closed, Key, WindowInput


@pytest.mark.parametrize(
    ("pressed", "answer"), [([Key(13)], "\n"), ([Key(ord("x")), Key(ord("D"))], "d"), ([Key(27)], ""), ([Closed()], "")]
)
def test_the_answer_to_a_message_box(monkeypatch: pytest.MonkeyPatch, pressed: list[WindowInput], answer: str) -> None:
    image_window = FakeImageWindow([], pressed)
    monkeypatch.setattr(message_box, "open_image_window", lambda: image_window)
    assert message_box.show_message_box("heading", ["line"], "d\n") == answer
    assert image_window.is_closed
