from .mean import AbstractMean as AbstractMean
