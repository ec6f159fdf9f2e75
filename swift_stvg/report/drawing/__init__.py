"""Boxes and spans drawn onto the frames of a clip: a video, a GIF, a frame or a contact sheet.

    overlay = Overlay.of(row_truth, sentence, completion, scores={"vIoU": 0.71})
    render(overlay, Path("clip.mp4"), Path("answer.mp4"))   # or .gif, .jpg for one frame, .png for a contact sheet

The true boxes are green and solid, think boxes blue and dotted, final boxes red and dashed. These are the paper's
colours; the line styles tell them apart without colour. Annotated and answered boxes are drawn with thick lines.
Where two systems are compared, the final boxes of A are pink and dashed, those of B violet and dotted. Colour-blind
people can tell these colours from each other and from the green of the truth. Between two given boxes, boxes are
interpolated linearly and drawn with thin lines. The sentence, the scores, the spans, and the time of the frame stand
below the frame.
"""

from swift_stvg.report.drawing.files import DRAWING_FORMATS, contact_sheet, play, render, still
from swift_stvg.report.drawing.overlay import Overlay
from swift_stvg.report.drawing.painting import PENS, Painter, shown_size

__all__ = ["DRAWING_FORMATS", "PENS", "Overlay", "Painter", "contact_sheet", "play", "render", "shown_size", "still"]
