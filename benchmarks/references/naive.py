"""Reference: the loop of most mask projects. One thread; per frame a face detector (Haar on the full grey frame),
``keras.predict`` on the crops of that frame, rectangles and labels, ``cv2.imshow``.

    maskwatch bench --source CLIP --compare naive --threads 2

The network is the trained one of the paper: ``models/paper/model_6.keras``.
"""

import json
import zipfile
from collections.abc import Callable

import cv2
import numpy as np
from shared import loop

_NAMES = {"mask": ("Mask", (0, 255, 0)), "no_mask": ("No Mask", (0, 0, 255))}

DetectFaces = Callable[[np.ndarray], list[tuple[int, int, int, int]]]
"""Takes a BGR frame, returns boxes as (x, y, width, height)."""


def haar() -> DetectFaces:
    path = loop.ROOT / "assets" / "haarcascade_frontalface_default.xml"
    cascade = cv2.CascadeClassifier(str(path))

    def detect(image: np.ndarray) -> list[tuple[int, int, int, int]]:
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return [tuple(map(int, box)) for box in cascade.detectMultiScale(grey, 1.1, 4)]

    return detect


def run(name: str, description: str, make_detector: Callable[[], DetectFaces], detector: str) -> None:
    args = loop.flags(description)
    loop.need_tensorflow()
    detect = make_detector()
    if args.check:
        return
    import keras

    path = loop.ROOT / "models" / "paper" / "model_6.keras"
    with zipfile.ZipFile(path) as archive:
        metadata = json.loads(archive.read("maskwatch.json"))
    network, side, labels = keras.models.load_model(path, compile=False), metadata["input_px"], metadata["labels"]
    clock = loop.Clock()

    def step(image: np.ndarray) -> int:
        with clock("detect"):
            boxes = detect(image)
        crops = []
        for x, y, w, h in boxes:
            crop = cv2.cvtColor(image[y : y + h, x : x + w], cv2.COLOR_BGR2RGB)
            crops.append(cv2.resize(crop, (side, side)))
        if not crops:
            return 0
        with clock("classify"):
            outputs = network.predict(np.asarray(crops, np.float32), verbose=0)
        with clock("draw"):
            for (x, y, w, h), output in zip(boxes, outputs, strict=True):
                best = int(np.argmax(output))
                name, colour = _NAMES.get(labels[best], (labels[best], (0, 165, 255)))
                cv2.putText(image, f"{name}: {output[best]:.0%}", (x, y - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 2)
                cv2.rectangle(image, (x, y), (x + w, y + h), colour, 2)
        return len(boxes)

    settings = {"detector": detector, "classifier": "model_6.keras, keras.predict on the crops of each frame"}
    loop.measure(name, args, step, clock, settings)


if __name__ == "__main__":
    run("naive", __doc__, haar, "Haar, full frame, scale factor 1.1, 4 neighbours")
