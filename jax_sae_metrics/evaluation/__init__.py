"""From a model and its autoencoders to numbers with error bars."""

from .component import Component as Component
from .evaluate import evaluate as evaluate
from .result import Evaluation as Evaluation
