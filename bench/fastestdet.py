"""FastestDet's output as one parses it by hand: what the scripts that edged is held against have in common."""

import cv2
import numpy as np

SIZE = 352
CELLS = 22


def parse(output, score_min, width, height):
    objectness, boxes, classes = output[0], output[1:5], output[5:]
    best = classes.max(axis=0)
    score = objectness**0.6 * best**0.4
    rows, columns = np.nonzero(score > score_min)
    if len(rows) == 0:
        return []
    b = boxes[:, rows, columns]
    x, y = (np.tanh(b[0]) + columns) / CELLS, (np.tanh(b[1]) + rows) / CELLS
    w, h = 1 / (1 + np.exp(-b[2])), 1 / (1 + np.exp(-b[3]))
    corners = np.stack([x - w / 2, y - h / 2, w, h], axis=1) * [width, height, width, height]
    scores = score[rows, columns]
    ids = classes[:, rows, columns].argmax(axis=0)
    kept = cv2.dnn.NMSBoxesBatched(corners.tolist(), scores.tolist(), ids.tolist(), score_min, 0.5)
    return [(int(ids[k]), float(scores[k]), corners[k].tolist()) for k in np.array(kept).flatten()]
