from .activations import AbstractActivations as AbstractActivations
from .batch import Batch as Batch, Inputs as Inputs, SizedAxis as SizedAxis
from .items import Items as Items
from .next_token_mask import next_token_mask as next_token_mask
from .question import Question as Question, answer as answer
from .sparse import SparseActivations as SparseActivations
from .top_k import TopKActivations as TopKActivations
