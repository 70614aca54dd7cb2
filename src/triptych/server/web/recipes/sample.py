"""A picture small enough to stand in code: a red circle on white, 96 pixels wide and high."""

from __future__ import annotations

SAMPLE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABgAQMAAADYVuV7AAAABlBMVEX////WJygztoBjAAAAkklEQVR42u2RsQ2DMBBFH4aCIgJG"
    "IBtkg2QkRmA0j8IILikQl+LMJcgICiQqfmM/37/zlw23rlUdAHAAdNWvkIt4qxTQGpTQGLzgYfCJq/u/IQOQuHHLQR9h6Vv3JFCA"
    "Rti3laDh9m2nYQQIh7YJYDi0zQB+66nolTcG+NinvygSrDJqNIVJA5Dr6Pcz+fpb1+kLYowaHVajK9gAAAAASUVORK5CYII="
)
