"""Boxes and spans drawn onto the frames of a clip: a video, a GIF, a frame or a contact sheet.

    overlay = Overlay.of(row_truth, sentence, completion, scores={"vIoU": 0.71})
    render(overlay, Path("clip.mp4"), Path("answer.mp4"))   # or .gif, .jpg for one frame, .png for a contact sheet

The true boxes are green and solid, think boxes blue and dotted, final boxes red and dashed. These are the paper's
colours; the line styles distinguish them without colour. Annotated boxes and boxes of answers have thick lines. Between
two such boxes, boxes are interpolated linearly and have thin lines. If two systems are compared, the final boxes of A
are pink and dashed, and the final boxes of B are violet and dotted. Colour-blind people can distinguish these colours
from each other and from the green of the truth. The sentence, the scores, the spans, and the time of the frame stand
below the frame.
"""

from swift_stvg.report.drawing.files import DRAWING_FORMATS, contact_sheet, play, render, still
from swift_stvg.report.drawing.overlay import Overlay
from swift_stvg.report.drawing.painting import PENS, Painter, shown_size

__all__ = ["DRAWING_FORMATS", "PENS", "Overlay", "Painter", "contact_sheet", "play", "render", "shown_size", "still"]
