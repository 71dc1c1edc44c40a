"""The colors of every picture, told apart with every kind of color vision (Okabe & Ito 2008)."""

BLUE, ORANGE, VERMILLION, PURPLE = "#0072b2", "#e69f00", "#d55e00", "#cc79a7"
GREEN, SKY, BLACK = "#009e73", "#56b4e9", "#000000"
BY_BAND = {"head": BLUE, "medium": ORANGE, "tail": VERMILLION, "unseen": PURPLE}
