"""More functions of one value: behind the other families, whose random numbers stay as they are."""

from . import elementwise
from .recorder import FLOATS

FUNCTIONS = {"math.erf": (FLOATS, -3, 3)}


def build(r):
    elementwise.unary(r, FUNCTIONS)
