"""Small models and word vectors that were made here: what there is, and how to make them again."""

from keraslm.zoo.entries import Entry, catalogue, find, get
from keraslm.zoo.recipes import RECIPES, SOURCES, Recipe, Source, make

__all__ = [
    "RECIPES",
    "SOURCES",
    "Entry",
    "Recipe",
    "Source",
    "catalogue",
    "find",
    "get",
    "make",
]
